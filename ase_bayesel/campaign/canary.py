"""The canary: a training structure that the engine calculates again, before it is asked for more.

Where engine and training data differ by a unit, a sign, their reference energies or the functional,
all new labels are wrong in the same way, and none of them tells it of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..errors import LabellingError
from ..labelling.engines import ReferenceResult
from ..labelling.labeller import Labeller
from ..labelling.task import is_settled, label_of
from ..structures.electronic import electronic_state
from ..structures.identity import canonical, structure_id
from ..structures.labels import WHOLE, FitTargets, PropertyKeys, targets
from ..structures.reference_energies import composition_energy, is_isolated, reference_energies
from .causes import ENERGY_FACTORS, FORCE_FACTORS
from .config.campaign import CampaignConfig
from .events import Progress

ENERGY_EV = 0.005
"""By so much, per atom, may the energies of training data and engine differ ..."""
FORCE_EV_A = 0.05
"""... and by so much each component of the forces."""
WITHOUT = "labelling.canary: false goes on without this check"
NO_FACTOR = "another functional, or other settings (cutoff, k-points, smearing, spin)"


@dataclass(frozen=True)
class Canary:
    """A training structure: its number, what is calculated, and the label that it came with."""

    number: int
    structure: Atoms
    labels: FitTargets


def canary_of(
    train: Sequence[Atoms],
    keys: PropertyKeys,
    starts: Sequence[Atoms],
    refusal: Callable[[Atoms], str | None] = lambda _: None,
) -> Canary | None:
    """The smallest labelled training structure; None where there is none to be calculated.

    Those in the usual electronic state that are no isolated atoms come first, and of these such
    with energy and forces. Only structures that are periodic as a start is are asked for, and no
    cut-outs.

    Parameters
    ----------
    train, keys
        The training structures, and where their labels are.
    starts
        The engine is made for the elements of these, and their periodicity.
    refusal
        Why the engine cannot calculate a structure, None where it can.
    """
    elements = {symbol for atoms in starts for symbol in atoms.symbols}
    periodic = {tuple(atoms.pbc) for atoms in starts}
    found: list[tuple[tuple[bool, int, int, int], FitTargets]] = []
    for number, atoms in enumerate(train):
        labels = targets(atoms, keys, f"training frame {number}")
        known = sum(value is not None for value in (labels.energy, labels.forces))
        fits = elements.issuperset(atoms.symbols) and tuple(atoms.pbc) in periodic
        if known and fits and WHOLE not in atoms.arrays and refusal(atoms) is None:
            odd = is_isolated(atoms) or bool(electronic_state(atoms).own)
            found.append(((odd, -known, len(atoms), number), labels))
    if not found:
        return None
    (*_, number), labels = min(found, key=lambda pair: pair[0])
    return Canary(number, canonical(train[number]), labels)


def check_canary(
    config: CampaignConfig,
    number: int,
    labeller: Labeller,
    train: Sequence[Atoms],
    starts: Sequence[Atoms],
) -> Iterator[Progress]:
    """Have the canary calculated, unless it was before, and compare it with its label.

    Parameters
    ----------
    config, number
        Of the campaign, and its round.
    labeller
        That of the round, before it has anything to do.
    train, starts
        As of `canary_of`.

    Raises
    ------
    LabellingError
        If its calculation fails, or if its label is another one.
    """
    reference, data = labeller.reference, config.data
    engine = reference.engine
    if data.bootstrap is not None:  # the engine's own labels
        return
    canary = canary_of(train, data.keys, starts, engine.refusal) if engine.canary else None
    if canary is None:
        return
    identity, store = structure_id(canary.structure), reference.store
    settings = reference.settings(canary.structure.symbols)
    known, where = is_settled(store, settings, identity), f"{data.train}, frame {canary.number}"
    told = f"training frame {canary.number} again, to compare engine and training data"
    for _ in labeller.beforehand(canary.structure):
        yield Progress(number, "canary", 0, 1, told)
    name = label_of(store, settings, identity)
    values = None if name is None else store.load(identity, name)
    if name is None or values is None:
        raise LabellingError(
            f"{where}: the engine cannot calculate this training structure again: "
            f"{store.reason(identity, settings[-1])}. Correct the engine (bayesel check-engine), "
            f"and run again with --retry-failed; {WITHOUT}"
        )
    found = differences(canary, values)
    if found:
        e0s = reference_energies(train, data.e0s, data.energy_key)
        raise LabellingError(
            f"{where}: the engine gives another label than the training set has: "
            f"{'; '.join(found)}. Likely: {likely_cause(canary, values, e0s)}. Correct what is "
            "wrong and begin in a new directory, with a new store of labels where the engine was "
            f"wrong (its label is {store.path(identity, name)}); {WITHOUT}"
        )
    if not known:
        yield Progress(number, "canary", 1, 1, f"training frame {canary.number}: the same label")


def differences(canary: Canary, found: ReferenceResult) -> list[str]:
    """What differs beyond the tolerances, with both values, in words; empty where nothing does.

    Parameters
    ----------
    canary, found
        With its label of the training set, and that of the engine.
    """
    given, told = canary.labels, []
    if _energies_differ(canary, found):
        assert given.energy is not None
        assert found.energy is not None
        told.append(
            f"an energy of {given.energy:.6f} eV in the training set, {found.energy:.6f} eV from "
            f"the engine (at most {1e3 * ENERGY_EV:g} meV/atom apart)"
        )
    if _forces_differ(given, found):
        assert given.forces is not None
        assert found.forces is not None
        worst = np.argmax(np.abs(given.forces - found.forces))
        atom, axis = np.unravel_index(worst, given.forces.shape)
        told.append(
            f"a force along {'xyz'[axis]} on atom {atom} of {given.forces[atom, axis]:.4f} eV/A in "
            f"the training set, {found.forces[atom, axis]:.4f} eV/A from the engine (at most "
            f"{1e3 * FORCE_EV_A:g} meV/A apart)"
        )
    return told


def likely_cause(canary: Canary, found: ReferenceResult, e0s: Mapping[str, float]) -> str:
    """What makes the two labels one: a unit, a sign, reference energies; else another functional.

    Parameters
    ----------
    canary, found
        With its label of the training set, and that of the engine.
    e0s
        Reference energies of the training set, eV, by element.
    """
    given, causes = canary.labels, []
    if _forces_differ(given, found):
        scaled = _factor(FORCE_FACTORS, given.forces, found.forces, FORCE_EV_A)
        causes.append(scaled or NO_FACTOR)
    if _energies_differ(canary, found):
        assert given.energy is not None
        assert found.energy is not None
        n_atoms = len(canary.structure)
        tolerance_eV = ENERGY_EV * n_atoms
        shift, baseline = found.energy - given.energy, composition_energy(canary.structure, e0s)
        scaled = _factor(ENERGY_FACTORS, given.energy, found.energy, tolerance_eV)
        if scaled is not None:
            causes.append(scaled)
        elif abs(shift - baseline) <= tolerance_eV:
            causes.append("the reference energies (E0) are taken off already, in the training set")
        elif abs(shift + baseline) <= tolerance_eV:
            causes.append("the reference energies (E0) are taken off already, by the engine")
        elif abs(n_atoms * given.energy - found.energy) <= tolerance_eV:
            causes.append("the energy is that of one atom, in the training set")
        elif given.forces is not None and not causes:
            causes.append(
                f"energies shifted by {shift / n_atoms:+.4g} eV/atom, with the same forces: other "
                "reference energies (E0) or pseudopotentials, or energies of another kind (without "
                "smearing's entropy)"
            )
        else:
            causes.append(NO_FACTOR)
    return "; ".join(dict.fromkeys(causes))


def _energies_differ(canary: Canary, found: ReferenceResult) -> bool:
    given = canary.labels.energy
    if given is None or found.energy is None:
        return False
    return abs(given - found.energy) > ENERGY_EV * len(canary.structure)


def _forces_differ(given: FitTargets, found: ReferenceResult) -> bool:
    if given.forces is None or found.forces is None:
        return False
    return float(np.abs(given.forces - found.forces).max()) > FORCE_EV_A


def _factor(
    factors: Mapping[str, float],
    given: float | np.ndarray | None,
    found: float | np.ndarray | None,
    tolerance: float,
) -> str | None:
    """The factor of the one that makes it the other, in words; None where there is none."""
    one, other = np.asarray(given, float), np.asarray(found, float)
    sides = (("in the training set", one, other), ("by the engine", other, one))
    left = {
        f"{name}, {whose}": float(np.abs(factor * wrong - right).max())
        for whose, wrong, right in sides
        for name, factor in factors.items()
    }
    best = min(left, key=left.__getitem__)
    return best if left[best] <= tolerance else None
