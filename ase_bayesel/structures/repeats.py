"""Labels that repeat those of another structure to the last digit, as no two calculations do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from .identity import structure_id
from .labels import FitTargets

APART_A = 1e-3
"""Structures are one if no atom is further from where the other has it, shifted as a whole."""
MANY = 3
"""So many different structures have no energy in common to the last digit."""


def repeats(frames: Sequence[Atoms], labels: Sequence[FitTargets]) -> dict[int, int]:
    """Structures with the energy and the forces of an earlier one that is another structure.

    Forces that all vanish, as those of crystals at rest, tell nothing.

    Parameters
    ----------
    frames, labels
        The structures, and the label of each.

    Returns
    -------
    The first one with that label, by the number of the structure that repeats it.
    """
    first: dict[tuple[bytes, bytes], int] = {}
    found = {}
    for k, (atoms, label) in enumerate(zip(frames, labels, strict=True)):
        if label.energy is None or label.forces is None or not label.forces.any():
            continue
        content = np.float64(label.energy).tobytes(), label.forces.tobytes()
        earlier = first.setdefault(content, k)
        if earlier != k and _are_apart(frames[earlier], atoms):
            found[k] = earlier
    return found


def same_energy(frames: Sequence[Atoms], labels: Sequence[FitTargets]) -> float | None:
    """The energy (eV) that `MANY` or more different structures have, all that have one; else None.

    ``frames`` and ``labels`` are those of `repeats`.
    """
    pairs = zip(frames, labels, strict=True)
    energies = {structure_id(a): label.energy for a, label in pairs if label.energy is not None}
    one = next(iter(energies.values()), None)
    return one if len(energies) >= MANY and {*energies.values()} == {one} else None


def _are_apart(one: Atoms, other: Atoms) -> bool:
    """Whether two structures are more than shifted copies of each other."""
    alike = np.array_equal(one.numbers, other.numbers) and np.array_equal(one.pbc, other.pbc)
    if not alike or np.abs(one.cell.array - other.cell.array).max() > APART_A:
        return True
    vectors = other.positions - one.positions
    return bool(find_mic(vectors - vectors[0], one.cell, one.pbc)[1].max() > APART_A)
