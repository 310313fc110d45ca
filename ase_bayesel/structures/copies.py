"""Copies among many structures, also where atoms are wrapped into the cell otherwise."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from ase import Atoms

from .electronic import electronic_state
from .identity import geometry_id, structure_id

TOLERANCE = 1e-6
"""Of the sums that tell structures apart, which move with the atoms by some 1/A."""
WIDTH = 2.0 * TOLERANCE
"""Of the intervals by which structures are looked up: what is near lies in one of two."""
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
        self._groups: dict[tuple[object, ...], int] = {}
        self._known: dict[tuple[int, int, int], list[tuple[np.ndarray, str]]] = {}

    def first(self, atoms: Atoms, identity: str | None = None) -> str:
        """The `structure_id` of the first structure of which this is a copy: itself, where new.

        ``identity`` is its own, where that is known.
        """
        identity = structure_id(atoms) if identity is None else identity
        state = (electronic_state(atoms), identity.removeprefix(geometry_id(identity)))
        cell = np.round(atoms.cell.array, CELL_DECIMALS) + 0.0
        kind = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), cell.tobytes(), state)
        group = self._groups.setdefault(kind, len(self._groups))
        sums = _sums(atoms)
        near = [[math.floor(s + shift) for shift in (-0.5, 0.5)] for s in sums[:2] / WIDTH]
        for place in product(*near):
            for known, name in self._known.get((group, *place), ()):
                if np.abs(known - sums).max() <= TOLERANCE:
                    return name
        one, other = (math.floor(s) for s in sums[:2] / WIDTH)
        self._known.setdefault((group, one, other), []).append((sums, identity))
        return identity


def _sums(atoms: Atoms) -> np.ndarray:
    """``(6,)`` sums over atoms with weights that follow from their places, per square root."""
    vectors = atoms.cell.array[atoms.pbc]
    fractions = atoms.positions @ np.linalg.pinv(vectors)
    phases = 2.0 * np.pi * fractions
    weights = (1.0 + (np.arange(1, len(atoms) + 1) * GOLDEN) % 1.0) / np.sqrt(len(atoms))
    plain = atoms.positions - fractions @ vectors
    parts = [weights @ np.cos(phases), weights @ np.sin(phases), weights @ plain]
    return np.concatenate(parts)
