"""Upper-triangular factors of stacked rows, kept by orthogonal updates.

A matrix R with R^T R = A^T A stands for all rows A seen so far. Appending rows
by a QR step costs O(k D^2), never squares the condition number, and does not
depend on how the columns are scaled.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtpqrt

BLOCK = 32


def append_rows(factor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The upper-triangular factor of ``factor`` stacked on ``rows``.

    Parameters
    ----------
    factor
        ``(D, D)``, upper triangular.
    rows
        ``(k, D)``.

    Returns
    -------
    ``(D, D)`` upper triangular R with R^T R = factor^T factor + rows^T rows and
    a diagonal >= 0. LAPACK's triangular-pentagonal QR, 2 k D^2 operations.
    """
    if len(rows) == 0:
        return factor
    return _append(factor, rows, trapezoid=0)


def merge(factor: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`append_rows` for rows that are themselves ``(D, D)`` upper triangular."""
    return _append(factor, other, trapezoid=len(other))


def _append(factor: np.ndarray, rows: np.ndarray, trapezoid: int) -> np.ndarray:
    n = factor.shape[1]
    updated, _, _, info = dtpqrt(
        trapezoid,
        min(BLOCK, n),
        np.array(factor, order="F"),
        np.array(rows, order="F"),
        overwrite_a=True,
        overwrite_b=True,
    )
    if info != 0:
        raise ValueError(f"LAPACK dtpqrt failed with info = {info}")
    upper = np.triu(updated)
    return upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
