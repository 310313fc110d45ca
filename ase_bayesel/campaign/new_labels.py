"""The labels of a round once they are there: taken up, noted, and refused where all have failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from datetime import UTC, datetime
from itertools import takewhile

from ase import Atoms

from ..errors import LabellingError
from ..io.words import counted
from ..labelling.by_hand import read_labels_by_hand
from ..labelling.store import LabelStore, with_labels
from ..labelling.task import is_settled, label_of
from ..structures.identity import structure_id
from ..structures.labels import PropertyKeys, of_whole_atoms
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
    structures: Iterable[Atoms], labels: LabelStore, settings_of: SettingsOf
) -> list[PickLabel]:
    """What became of structures that were to be labelled."""
    noted = []
    for atoms in structures:
        identity = structure_id(atoms)
        name = label_of(labels, settings_of(atoms), identity)
        values = None if name is None else labels.load(identity, name)
        force = None
        if values is not None and values.forces is not None:
            force = largest_force(of_whole_atoms(atoms, values.forces))
        noted.append(PickLabel(identity, name, force))
    return noted


def with_known_labels(
    structures: Sequence[Atoms],
    notes: Sequence[PickLabel],
    labels: LabelStore,
    keys: PropertyKeys,
) -> list[Atoms]:
    """Those of some structures that have a label, with it.

    Parameters
    ----------
    structures, notes
        The structures, and what `note_labels` says of each.
    labels, keys
        Where the labels lie, and under which keys they go into the structures.
    """
    found = []
    for atoms, note in zip(structures, notes, strict=True):
        values = None if note.settings is None else labels.load(note.identity, note.settings)
        if values is not None:
            found.append(with_labels(atoms, values, keys))
    return found


def reasons_of_failures(
    structures: Sequence[Atoms],
    notes: Sequence[PickLabel],
    labels: LabelStore,
    settings_of: SettingsOf,
) -> dict[int, str]:
    """Why those of some structures have no label that have none, by their number.

    Parameters
    ----------
    structures, notes, labels
        As of `with_known_labels`.
    settings_of
        Where a label may lie; the last place knows why it is not there.
    """
    return {
        k: labels.reason(note.identity, settings_of(atoms)[-1])
        for k, (atoms, note) in enumerate(zip(structures, notes, strict=True))
        if note.settings is None
    }


def refuse_failures(
    store: Store,
    number: int,
    undecided: Set[str],
    limit: int | None,
    last_reason: Callable[[], str],
) -> None:
    """Stop before a round is closed of which no fit can take a label, if that goes on for long.

    Parameters
    ----------
    store, number
        The campaign and its round, of whose picks it is noted what became of them.
    undecided
        Identities of labels that are set aside, and nobody has said anything of.
    limit
        So many structures in a row without a label for a fit are too many; None for any number.
    last_reason
        Says what is wrong with the last one.

    Raises
    ------
    LabellingError
        If it does.
    """
    batches = [store.read_labelled(k) for k in range(1, number + 1)]
    latest = [label for batch in reversed(batches) for label in reversed(batch)]
    lost = [*takewhile(lambda one: one.settings is None or one.identity in undecided, latest)]
    if limit is None or not batches[-1] or len(lost) < max(limit, len(batches[-1])):
        return
    fate, way = "failed", "correct the engine (bayesel check-engine) and use --retry-failed"
    if any(label.settings is not None for label in lost):
        fate = "failed or been set aside"
        way += ", or correct labels by hand, or say bayesel accept or bayesel reject of each"
    raise LabellingError(
        f"round {number}: the last {counted(len(lost), 'structure has', 'structures have all')} "
        f"{fate}, "
        f"{latest[0].identity} with: {last_reason()}. Before you run again, {way}; or "
        "raise stop.max_failures, and the campaign goes on without them"
    )
