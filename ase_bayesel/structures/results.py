"""What a calculator answers, whoever wrote it: what is an energy, are forces, is a stress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from ..errors import ResultError
from ..io.failures import is_failure, reason_of

SYMMETRIC = 1e-3
"""A stress is symmetric up to this share of its largest component."""


def energy_of(value: Any) -> float:
    """An energy as a float; also of an array that holds nothing but this number.

    Raises
    ------
    ResultError
        If it is missing, or no real number.
    """
    array = _real(value, "energy")
    if array.shape not in ((), (1,)):
        raise ResultError(f"energy: expected a number, got an array of shape {array.shape}")
    return float(array.reshape(()))


def forces_of(value: Any, n_atoms: int) -> np.ndarray:
    """Forces as a new array ``(n_atoms, 3)`` of float64.

    Raises
    ------
    ResultError
        If they are missing, of another shape (also of one that would broadcast), or not real.
    """
    array = _real(value, "forces")
    if array.shape != (n_atoms, 3):
        raise ResultError(f"forces: expected an array of shape {(n_atoms, 3)}, got {array.shape}")
    return array


def stress_of(value: Any) -> np.ndarray:
    """A stress as a new array ``(6,)`` in ASE's Voigt order, from that or from ``(3, 3)``.

    Raises
    ------
    ResultError
        If it is missing, of another shape, not symmetric, or not real.
    """
    array = _real(value, "stress")
    if array.shape == (3, 3):
        if np.abs(array - array.T).max() > SYMMETRIC * np.abs(array).max():
            raise ResultError("stress: the 3x3 array is not symmetric")
        return np.asarray(full_3x3_to_voigt_6_stress(array))
    if array.shape != (6,):
        raise ResultError(f"stress: expected shape (6,) or (3, 3), got {array.shape}")
    return array


@contextmanager
def untouched(atoms: Atoms) -> Iterator[None]:
    """Refuse a calculator that changes the atoms that it is asked about.

    Raises
    ------
    ResultError
        If positions, elements, cell or periodicity are others afterwards.
    """
    before = {name: array.copy() for name, array in _geometry(atoms).items()}
    yield
    for name, array in _geometry(atoms).items():
        if not np.array_equal(before[name], array, equal_nan=array.dtype.kind == "f"):
            raise ResultError(f"the calculator has changed the {name} of the structure")


def _geometry(atoms: Atoms) -> dict[str, np.ndarray]:
    return {
        "elements": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        "periodicity": atoms.pbc,
    }


def _real(value: Any, name: str) -> np.ndarray:
    if value is None:
        raise ResultError(f"{name}: is missing")
    if np.ma.is_masked(value):
        raise ResultError(f"{name}: has masked values, which are no numbers")
    try:
        array = np.asarray(value)
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ResultError(f"{name}: is no array of numbers ({reason_of(error)})") from error
    if array.dtype.kind not in "fiu":
        raise ResultError(f"{name}: expected real numbers, got {array.dtype}")
    return array.astype(float)
