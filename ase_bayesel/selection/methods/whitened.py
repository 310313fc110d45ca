"""The rows of a whole pool in coordinates in which the posterior covariance is the identity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import solve_triangular

from ...surrogate.posterior import Posterior
from ...surrogate.triangular import append_rows

BLOCK_ROWS = 2048


def row_blocks(n_rows: int) -> Iterator[slice]:
    """Slices of `BLOCK_ROWS` rows."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, n_rows, BLOCK_ROWS))


class WhitenedPool:
    """One observation row p_j = R^-T phi_j / noise_j per candidate, and those observed.

    With R^T R the precision at the start, the covariance in these coordinates is
    S = (I + P^T P)^-1 with P the rows observed so far. It is held as
    S = I - sum_k u_k u_k^T, u = S p / sqrt(1 + p^T S p), where each S is the one before
    (Sherman-Morrison), so that an observation costs O(D k) and no ``M x M`` matrix appears.

    Parameters
    ----------
    posterior
        What is known before the first pick.
    rows
        ``(M, D)`` feature rows; read in blocks, so that they may be memory-mapped.
    noise
        ``(M,)`` standard deviation of each observation.
    """

    def __init__(self, posterior: Posterior, rows: np.ndarray, noise: np.ndarray) -> None:
        self.rows = np.empty((len(rows), posterior.n_features))
        for block in row_blocks(len(rows)):
            self.rows[block] = posterior.whiten(rows[block]).T
            self.rows[block] /= noise[block, None]
        self._observed: list[int] = []
        self._directions = np.empty((posterior.n_features, 0), order="F")

    @property
    def n_observed(self) -> int:
        """Observations since the last `rewhiten`."""
        return len(self._observed)

    def lengths(self) -> np.ndarray:
        """``(M,)`` squared lengths: variances over noise^2 without the observations."""
        return np.einsum("ij,ij->i", self.rows, self.rows)

    def times_covariance(self, vector: np.ndarray) -> np.ndarray:
        """S times a vector ``(D,)``."""
        return vector - self._directions @ (self._directions.T @ vector)

    def projections(self, indices: np.ndarray, first: int) -> np.ndarray:
        """``(len(indices), n_observed - first)`` products p_j . u_k, from the first-th u on."""
        return self.rows[indices] @ self._directions[:, first:]

    def observe(self, index: int) -> np.ndarray:
        """Take up a candidate's row; returns its u ``(D,)``."""
        row = self.rows[index]
        direction = self.times_covariance(row)
        direction /= np.sqrt(1.0 + max(float(row @ direction), 0.0))
        self._directions = np.asfortranarray(np.column_stack([self._directions, direction]))
        self._observed.append(index)
        return direction

    def rewhiten(self) -> np.ndarray:
        """Move to coordinates in which S is the identity, O(M D^2).

        Returns the upper-triangular T ``(D, D)`` with T^T T = S^-1; rows become p T^-1.
        Subtracted scores lose digits; after this they can be formed anew from the rows.
        """
        factor = append_rows(np.eye(self.rows.shape[1]), self.rows[self._observed])
        for block in row_blocks(len(self.rows)):
            self.rows[block] = solve_triangular(factor, self.rows[block].T, trans="T").T
        self._observed = []
        self._directions = self._directions[:, :0]
        return factor
