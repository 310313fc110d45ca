"""Labels that no fit takes until somebody has decided: what screening found, and decisions.

What screening found of a round is kept in ``screened.json`` of the round, decisions in
``decisions.json`` of the campaign. A round's fit takes the decisions of its beginning, kept
beside the round's model: one that comes later counts in the next fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms
from pydantic import TypeAdapter

from ..io.atomic import write_if_changed
from ..structures.labels import PropertyKeys
from ..structures.reference_energies import fitted_targets
from ..structures.repeats import repeats
from ..surrogate.design import training_features
from ..surrogate.energy_weights import force_growth
from ..surrogate.expectation import Expectation
from ..surrogate.held_out import Chosen
from ..surrogate.surrogate import Surrogate
from ..surrogate.training_rows import TrainingRows
from .build.models import build_descriptor, force_projections
from .config.campaign import CampaignConfig
from .decisions import decisions_of_fit, read_named
from .events import SuspectLabel
from .screening import ONE, NewLabel, Sizes, Verdict, screened
from .store import Store

MOST_LEFT_OUT = 50
"""So many training structures tell how much right labels surprise."""
REPEATED = "the engine has returned what it computed before, or one file was read twice"
VERDICTS = TypeAdapter(dict[str, Verdict])


def screen_labels(
    config: CampaignConfig,
    store: Store,
    number: int,
    labelled: Mapping[str, Atoms],
    known: Sequence[Atoms],
) -> None:
    """Keep what screening finds of the labels of a round.

    Parameters
    ----------
    config, store, number
        The campaign and its round.
    labelled
        Its picks with their labels, by identity and in order.
    known
        The training set before.
    """
    if not labelled:
        return
    descriptor = build_descriptor(config, store.potential_path(number - 1))
    surrogate = Surrogate.load(store.fitted_path(number - 1), descriptor)
    projections = force_projections(config.descriptor)
    frames = [*labelled.values()]
    batch = list(new_labels(surrogate, frames, config.data.keys, projections))
    earlier: list[Sizes] = []
    for k in range(1, number):
        before = read_verdicts(store, k).values()
        earlier += [verdict.sizes for verdict in before if not verdict.found]
    limit = config.labels.max_force
    rows = TrainingRows(known, descriptor, projections, store=store.rows)
    training = surprises_left_out(
        surrogate, known, config.data.keys, projections, limit, rows.chosen
    )
    found = screened(batch, surrogate.scales.in_campaign, earlier, limit, training)
    verdicts = dict(zip(labelled, found, strict=True))
    names = [*labelled]
    for k, first in repeats(frames, [new.labels for new in batch]).items():
        told = f"energy and forces are those of {names[first]} to the last digit"
        verdicts[names[k]] = replace(found[k], found=told, cause=REPEATED)
    write_if_changed(_verdicts_path(store, number), VERDICTS.dump_json(verdicts))


def new_labels(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    projections: int | None = None,
) -> Iterator[NewLabel]:
    """Labelled structures beside what a surrogate that has not seen them expects.

    Parameters
    ----------
    surrogate
        Fitted to labels alone.
    frames
        With their labels.
    keys
        Where these are.
    projections
        As in the fit.
    """
    stream = training_features(frames, surrogate.descriptor, projections)
    for atoms, features in zip(frames, stream, strict=True):
        labels = fitted_targets(atoms, keys, surrogate.e0s)
        expected = Expectation.of(surrogate, atoms, labels, features)
        volume = atoms.get_volume() if atoms.pbc.all() else 0.0
        yield NewLabel(labels, expected, Counter(atoms.symbols), volume)


def surprises_left_out(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    projections: int | None = None,
    max_force: float | None = None,
    chosen: Chosen | None = None,
) -> Sequence[Sizes]:
    """Sizes of the surprises of some training structures, evenly spread, as the others tell them.

    Parameters
    ----------
    surrogate, frames, keys, projections
        As of `new_labels`; the frames are those of the fit.
    max_force
        eV/A, that of the fit: what counts less in its mean than in its covariance is passed over.
    chosen
        Gives the features of the fit; they are computed anew without it.
    """
    numbers = range(0, len(frames), max(1, -(-len(frames) // MOST_LEFT_OUT)))
    if chosen is None:
        chosen = TrainingRows(frames, surrogate.descriptor, projections).chosen
    found = []
    for k, features in zip(numbers, chosen(numbers), strict=True):
        atoms = frames[k]
        labels = fitted_targets(atoms, keys, surrogate.e0s)
        if labels.energy is None or (keys.forces is not None and labels.forces is None):
            continue
        if force_growth(labels.forces, max_force) > 1.0:
            continue
        expected = Expectation.left_out(surrogate, atoms, labels, features)
        if expected is not None and len(atoms) > 1:
            sizes = dict(expected.surprise(labels).sizes)
            if "forces" in sizes:
                sizes[ONE] = expected.worst_force(labels)
            found.append(sizes)
    return found


def read_verdicts(store: Store, number: int) -> dict[str, Verdict]:
    """What screening found of the labels of a round, by identity; empty if it was not done."""
    return read_named(_verdicts_path(store, number), VERDICTS)


def suspects(store: Store, number: int) -> tuple[SuspectLabel, ...]:
    """The labels of a round that screening has set aside."""
    found = read_verdicts(store, number).items()
    return tuple(SuspectLabel(name, v.found, v.cause) for name, v in found if v.found)


def left_out(store: Store, number: int, set_aside_force: float | None) -> frozenset[str]:
    """Identities of the labels that the fit of a round does not take.

    Those with forces beyond a limit (eV/A), and those that screening has found, but for the
    accepted ones; and all that are rejected.
    """
    decisions = decisions_of_fit(store, number)
    out = set()
    for k in range(1, number + 1):
        verdicts = read_verdicts(store, k)
        for label in store.read_labelled(k):
            found = label.identity in verdicts and bool(verdicts[label.identity].found)
            aside = found or not label.fitted(set_aside_force)
            decided = decisions.get(label.identity)
            if decided == "rejected" or (aside and decided is None):
                out.add(label.identity)
    return frozenset(out)


def entered(store: Store, number: int, set_aside_force: float | None) -> dict[str, int]:
    """Rounds in whose fits accepted labels entered, up to a round; as of `left_out`."""
    decisions = decisions_of_fit(store, number)
    accepted = {name for name, decision in decisions.items() if decision == "accepted"}
    found: dict[str, int] = {}
    known: set[str] = set()
    for k in range(1, number + 1) if accepted else ():
        known |= {label.identity for label in store.read_labelled(k)}
        for name in (accepted & known) - left_out(store, k, set_aside_force):
            found.setdefault(name, k)
    return found


def _verdicts_path(store: Store, number: int) -> Path:
    return store.round_directory(number) / "screened.json"
