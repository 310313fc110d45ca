"""The labels of a round once they are there: taken up, noted, and refused where all have failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import takewhile

from ase import Atoms

from ..errors import LabellingError
from ..labelling.by_hand import read_labels_by_hand
from ..labelling.store import LabelStore
from ..labelling.task import is_settled, label_of
from ..structures.labels import PropertyKeys
from ..surrogate.energy_weights import largest_force
from .exploration import Pick
from .pick_labels import PickLabel
from .store import Store

SettingsOf = Callable[[Atoms], tuple[str, ...]]
"""Where the labels of a structure may lie."""


def take_labels_by_hand(
    store: Store, number: int, picks: Sequence[Pick], keys: PropertyKeys, settings_of: SettingsOf
) -> int:
    """Keep the labels that the user has put in place; returns how many are missing.

    One that says otherwise than before replaces what was there, and is noted among the changes.

    Parameters
    ----------
    store, number, picks
        The campaign, its round and the batch.
    keys
        Of the labels.
    settings_of
        Where they lie.
    """
    path = store.by_hand_path(number)
    if path.exists():
        structures = [pick.structure for pick in picks]
        for label in read_labels_by_hand(path, structures, keys):
            if store.labels.correct(label):
                now = datetime.now(UTC).isoformat(timespec="seconds")
                noted = {"time": now, "round": number, "corrected_label": label.structure_id}
                store.log_changes([noted])
            store.labels.save(label)
    return sum(
        not is_settled(store.labels, settings_of(pick.structure), pick.structure_id)
        for pick in picks
    )


def note_labels(
    picks: Sequence[Pick], labels: LabelStore, settings_of: SettingsOf
) -> list[PickLabel]:
    """What became of each pick of a batch."""
    noted = []
    for pick in picks:
        name = label_of(labels, settings_of(pick.structure), pick.structure_id)
        values = None if name is None else labels.load(pick.structure_id, name)
        force = None if values is None else largest_force(values.forces)
        noted.append(PickLabel(pick.structure_id, name, force))
    return noted


def refuse_failures(
    store: Store,
    number: int,
    labelled: Sequence[PickLabel],
    limit: int | None,
    last_reason: Callable[[], str],
) -> None:
    """Stop before a round is closed in which all has failed, if that goes on for long.

    Parameters
    ----------
    store, number, labelled
        The campaign, its round and what became of the picks.
    limit
        So many failures in a row are too many; None for any number.
    last_reason
        Says why the last one has failed.

    Raises
    ------
    LabellingError
        If it does.
    """
    if limit is None or not labelled or any(label.settings for label in labelled):
        return
    before = [entry for k in range(1, number) for entry in store.read_labelled(k)]
    latest = reversed([*before, *labelled])
    n_failed = len(list(takewhile(lambda label: label.settings is None, latest)))
    if n_failed >= limit:
        raise LabellingError(
            f"round {number}: the last {n_failed} structures have all failed, "
            f"{labelled[-1].identity} with: {last_reason()}. Correct the engine (bayesel "
            "check-engine) and run again with --retry-failed; or raise stop.max_failures, and the "
            "campaign goes on without them"
        )
