"""Central differences by positions and strain, and arrays compared by their scale."""

import numpy as np
from ase import Atoms

from helpers.structures import strained


def displaced(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    out = atoms.copy()
    out.positions[atom, axis] += step
    return out


def position_differences(function, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """Central differences of ``function(atoms)`` by positions, ``(n_atoms, 3, ...)``."""
    return np.array(
        [
            [
                (function(displaced(atoms, i, k, step)) - function(displaced(atoms, i, k, -step)))
                / (2 * step)
                for k in range(3)
            ]
            for i in range(len(atoms))
        ]
    )


def strain_differences(function, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """Central differences of ``function(atoms)`` by strain in Voigt order, ``(6, ...)``."""
    return np.array(
        [
            (function(strained(atoms, k, step)) - function(strained(atoms, k, -step))) / (2 * step)
            for k in range(6)
        ]
    )


def assert_close(actual, expected, relative: float) -> None:
    """Largest difference at most ``relative`` times the largest magnitude, plus rounding."""
    expected = np.asarray(expected)
    scale = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * scale + 1e-14)
