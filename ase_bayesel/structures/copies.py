"""Copies among many structures, also where atoms are wrapped into the cell otherwise."""

from __future__ import annotations

from itertools import product

import numpy as np
from ase import Atoms

from .electronic import electronic_state
from .identity import geometry_id, structure_id

TOLERANCE = 1e-6
"""Of the sums that tell structures apart, which move with the atoms by some 1/A."""
CELL_DECIMALS = 6
GOLDEN = 0.6180339887498949


class Copies:
    """Remembers structures; those that differ by images over periodic faces alone are one.

    A structure is known by weighted sums over its atoms, of exp(2 pi i f) with the fractional
    coordinate f along a periodic direction and of the position along another, which no choice
    of images changes. Elements in their order, cell, pbc and the rest of the `structure_id` must be
    the same.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], list[tuple[np.ndarray, str]]] = {}

    def first(self, atoms: Atoms) -> str:
        """The `structure_id` of the first structure of which this is a copy: itself, where new."""
        identity = structure_id(atoms)
        state = (electronic_state(atoms), identity.removeprefix(geometry_id(identity)))
        cell = np.round(atoms.cell.array, CELL_DECIMALS) + 0.0
        group = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), cell.tobytes(), state)
        sums = _sums(atoms)
        cells = [{int(np.floor(s / TOLERANCE + shift)) for shift in (-0.5, 0.5)} for s in sums[:2]]
        places = [(*group, *place) for place in product(*cells)]
        for place in places:
            for known, name in self._known.get(place, ()):
                if np.abs(known - sums).max() <= TOLERANCE:
                    return name
        for place in places:
            self._known.setdefault(place, []).append((sums, identity))
        return identity


def _sums(atoms: Atoms) -> np.ndarray:
    """``(6,)`` sums over atoms with weights that follow from their places, per square root."""
    vectors = atoms.cell.array[atoms.pbc]
    phases = 2.0 * np.pi * (atoms.positions @ np.linalg.pinv(vectors))
    weights = (1.0 + (np.arange(1, len(atoms) + 1) * GOLDEN) % 1.0) / np.sqrt(len(atoms))
    plain = atoms.positions - (atoms.positions @ np.linalg.pinv(vectors)) @ vectors
    parts = [weights @ np.cos(phases), weights @ np.sin(phases), weights @ plain]
    return np.concatenate(parts)
