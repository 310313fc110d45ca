"""Upper-triangular factors of stacked rows, kept by orthogonal updates.

A matrix R with R^T R = A^T A stands for all rows A seen so far. Appending rows
by a QR step costs O(k D^2), never squares the condition number, and does not
depend on how the columns are scaled.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky
from scipy.linalg.blas import dsyrk
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


def reduced(rows: np.ndarray) -> np.ndarray:
    """At most D rows A with the same A^T A, all that a precision takes of rows ``(k, D)``."""
    width = rows.shape[1]
    return rows if len(rows) <= width else append_rows(np.zeros((width, width)), rows)


def factor_of_observed(white: np.ndarray) -> np.ndarray:
    """The upper-triangular C ``(k, k)`` with C^T C = I + white^T white, ``white (D, k)``.

    scipy's BLAS alone: numpy brings another one, and where small products of both take turns,
    the threads of each wait for those of the other.
    """
    gram = dsyrk(1.0, white, trans=1)
    gram[np.diag_indices(len(gram))] += 1.0
    return cholesky(gram, overwrite_a=True, check_finite=False)


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
