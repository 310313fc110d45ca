"""Functions of vectors in a structure, and what their gradients are by positions and strain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ...descriptors.base import Gradient, voigt6
from ...structures.calculators import determinant


class VariableValue(NamedTuple):
    """A variable of a structure, in A, rad or no unit, and its gradient."""

    value: float
    gradient: Gradient


class Slope(NamedTuple):
    """A function of some vectors: its value, and its gradient ``(n, 3)`` by each of them."""

    value: float
    by_vectors: np.ndarray


def nearest_vectors(atoms: Atoms, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """From each first atom to the nearest image of the second, ``(n, 3)``, A."""
    vectors = atoms.positions[second] - atoms.positions[first]
    if not atoms.pbc.any():
        return np.asarray(vectors)
    cell = atoms.cell.array
    if determinant(cell) != 0:
        inverse = np.linalg.inv(cell)
        near = vectors - (np.rint(vectors @ inverse) * atoms.pbc) @ cell
        # no cell vector is shorter than the distance of opposite faces, 1 / |inverse column|
        if 4 * (near**2).sum(axis=1).max() * (inverse**2).sum(axis=0).max() < 1:
            return np.asarray(near)
    return np.asarray(find_mic(vectors, atoms.cell, atoms.pbc)[0])


def of_pairs(
    atoms: Atoms, first: np.ndarray, second: np.ndarray, vectors: np.ndarray, slope: Slope
) -> VariableValue:
    """The gradient by positions and strain of a function of vectors between atoms.

    Parameters
    ----------
    atoms
        Of the structure.
    first, second
        ``(n,)`` numbers of the atoms where the vectors begin and end.
    vectors
        ``(n, 3)``, A.
    slope
        The function's value and derivative by the vectors.
    """
    positions = np.zeros((len(atoms), 3))
    np.add.at(positions, second, slope.by_vectors)
    np.subtract.at(positions, first, slope.by_vectors)
    return VariableValue(slope.value, Gradient(positions, _by_strain(vectors, slope)))


def of_cell(atoms: Atoms, vectors: np.ndarray, slope: Slope) -> VariableValue:
    """The gradient by positions, which is zero, and strain of a function of cell vectors."""
    return VariableValue(
        slope.value, Gradient(np.zeros((len(atoms), 3)), _by_strain(vectors, slope))
    )


def _by_strain(vectors: np.ndarray, slope: Slope) -> np.ndarray:
    return voigt6(vectors.T @ slope.by_vectors)


def angle_of(one: np.ndarray, other: np.ndarray) -> Slope:
    """The angle between two vectors (rad).

    Where they are parallel it has no gradient; zero is as good as any other.
    """
    lengths = np.array([np.linalg.norm(one), np.linalg.norm(other)])[:, None]
    one, other = one / lengths[0], other / lengths[1]
    cosine, sine = one @ other, np.linalg.norm(cross(one, other))
    across = np.stack([cosine * one - other, cosine * other - one])
    return Slope(float(np.arctan2(sine, cosine)), across / lengths / (sine if sine else 1.0))


def cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The vector product, at a fraction of NumPy's cost."""
    (a, b, c), (d, e, f) = one.tolist(), other.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])
