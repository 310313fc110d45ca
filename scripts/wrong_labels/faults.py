"""Kinds of wrong labels: each changes a label of a batch, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms, units

from ase_bayesel.structures.labels import FitTargets

Fault = Callable[[FitTargets, Atoms, float, np.random.Generator], FitTargets]
"""A label, its structure, the sum of its reference energies (eV) and random numbers: another."""


def _energy(change: Callable[[float], float]) -> Fault:
    def fault(
        label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
    ) -> FitTargets:
        assert label.energy is not None
        return replace(label, energy=change(label.energy))

    return fault


def _forces(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Fault:
    def fault(
        label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
    ) -> FitTargets:
        assert label.forces is not None
        return replace(label, forces=change(label.forces, rng))

    return fault


def _times(factor: float) -> Fault:
    return _forces(lambda forces, rng: factor * forces)


def _virial(change: Callable[[np.ndarray, float], np.ndarray]) -> Fault:
    """None of a structure without a virial."""

    def fault(
        label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
    ) -> FitTargets:
        if label.virial is None:
            return label
        return replace(label, virial=change(label.virial, atoms.get_volume()))

    return fault


def _per_atom(
    label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
) -> FitTargets:
    assert label.energy is not None
    return replace(label, energy=label.energy / len(atoms))


def _without_e0(
    label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
) -> FitTargets:
    assert label.energy is not None
    return replace(label, energy=label.energy - baseline)


def _one_component(forces: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = forces.copy()
    changed[rng.integers(len(forces)), rng.integers(3)] += 3.0
    return changed


def _failed(
    label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
) -> FitTargets:
    assert label.energy is not None
    assert label.forces is not None
    noise = rng.normal(0.0, 0.5, label.forces.shape)
    return replace(label, energy=label.energy + 2.0, forces=label.forces + noise)


def _atomic_units(
    label: FitTargets, atoms: Atoms, baseline: float, rng: np.random.Generator
) -> FitTargets:
    assert label.energy is not None
    assert label.forces is not None
    energy = label.energy / units.Hartree
    return replace(label, energy=energy, forces=label.forces * units.Bohr / units.Hartree)


KCAL, KJ = units.kcal / units.mol, units.kJ / units.mol
FAULTS: Mapping[str, Fault] = {
    "energy in Hartree": _energy(lambda e: e / units.Hartree),
    "energy in Rydberg": _energy(lambda e: e / units.Rydberg),
    "energy in kcal/mol": _energy(lambda e: e / KCAL),
    "energy in kJ/mol": _energy(lambda e: e / KJ),
    "forces in Hartree/Bohr": _times(units.Bohr / units.Hartree),
    "forces in Rydberg/Bohr": _times(units.Bohr / units.Rydberg),
    "forces in kcal/mol/A": _times(1 / KCAL),
    "forces in kJ/mol/A": _times(1 / KJ),
    "energy and forces in atomic units": _atomic_units,
    "energy off by 1 eV": _energy(lambda e: e + 1.0),
    "energy off by 5 eV": _energy(lambda e: e - 5.0),
    "energy off by 50 eV": _energy(lambda e: e + 50.0),
    "energy of one atom": _per_atom,
    "energy without E0": _without_e0,
    "forces with the wrong sign": _times(-1.0),
    "forces halved": _times(0.5),
    "forces zero": _times(0.0),
    "forces in another order": _forces(lambda f, rng: f[rng.permutation(len(f))]),
    "forces along other axes": _forces(lambda f, rng: f[:, [1, 2, 0]]),
    "one force component off by 3 eV/A": _forces(_one_component),
    "failed electronic state": _failed,
    "stress with the wrong sign": _virial(lambda v, volume: -v),
    "stress in GPa": _virial(lambda v, volume: v / units.GPa),
    "stress in place of the virial": _virial(lambda v, volume: -v / volume),
}
"""Of one label by itself."""
SHIFTS_EV = (1.0, 1.7, -0.8)
"""Of the elements in the order of the alphabet, where all labels have other reference energies."""


def other_structure(
    labels: Sequence[FitTargets], frames: Sequence[Atoms], k: int, rng: np.random.Generator
) -> FitTargets | None:
    """The label of another structure of the batch with the same atoms; None if there is none."""
    same = [
        n
        for n, atoms in enumerate(frames)
        if n != k and np.array_equal(atoms.numbers, frames[k].numbers)
    ]
    return labels[int(rng.choice(same))] if same else None


def other_e0s(labels: Sequence[FitTargets], frames: Sequence[Atoms]) -> list[FitTargets]:
    """A batch with other reference energies."""
    elements = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    shifts = dict(zip(elements, SHIFTS_EV, strict=False))
    return [
        replace(label, energy=(label.energy or 0.0) + sum(shifts[s] for s in atoms.symbols))
        for label, atoms in zip(labels, frames, strict=True)
    ]
