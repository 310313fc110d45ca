"""What every method returns, and what every method asks of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ...errors import SelectionError


@dataclass(frozen=True)
class Selection:
    """Picked structures.

    Attributes
    ----------
    indices
        ``(k,)`` integers into the pool, in the order of picking.
    scores
        ``(k,)`` score of each pick when it was picked, in the unit of its method; NaN where
        the method scores no single structure.
    n_near_core
        So many of the last picks are near copies of the core, for want of others.
    """

    indices: np.ndarray
    scores: np.ndarray
    n_near_core: int = 0

    def __len__(self) -> int:
        return len(self.indices)


def selection(indices: Sequence[int], scores: Sequence[float] | None = None) -> Selection:
    """A `Selection` of plain sequences; without scores they are NaN."""
    if scores is None:
        scores = [np.nan] * len(indices)
    return Selection(np.asarray(indices, int), np.asarray(scores, float))


def check_number(n: int, n_pool: int) -> None:
    """Raise a `SelectionError` unless ``n`` structures can be picked from ``n_pool``."""
    if n_pool == 0:
        raise SelectionError("the pool is empty")
    if not 0 <= n <= n_pool:
        raise SelectionError(f"n = {n}, but the pool has {n_pool} structures to pick from")


def check_matrix(name: str, matrix: np.ndarray) -> np.ndarray:
    """The matrix, or a `SelectionError` if it has not two dimensions or is not finite."""
    if matrix.ndim != 2:
        raise SelectionError(f"{name}: expected a matrix, got shape {matrix.shape}")
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise SelectionError(f"{name}: row {int(np.argmin(finite))} is not finite")
    return matrix


def check_vector(name: str, values: Any, length: int) -> np.ndarray:
    """``(length,)`` finite positive numbers; a scalar stands for equal ones."""
    vector = np.asarray(values, float)
    vector = np.full(length, vector) if vector.ndim == 0 else vector
    if vector.shape != (length,) or not np.isfinite(vector).all() or (vector <= 0).any():
        raise SelectionError(f"{name}: expected {length} finite positive numbers")
    return vector


def optional(module: str, package: str) -> Any:
    """Import a module of an optional package, or raise a `SelectionError` that names it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SelectionError(
            f"this method needs {package} ({error}): pip install 'ase_bayesel[selection]'"
        ) from error
