"""Bayesian selection by the variance of the energy, one energy row per label (Eq. 5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...surrogate.posterior import Posterior
from .budget import Budget
from .result import Selection, check_number, check_vector, selection
from .whitened import WhitenedPool

PRECISION = 1e-6
"""Scores are formed anew where one has fallen below this part of the largest before."""
FIRST_BATCH = 64


def energy_variance(
    rows: np.ndarray,
    n: int,
    posterior: Posterior,
    noise: np.ndarray,
    weights: np.ndarray | float = 1.0,
    costs: Any = None,
    budget: float | None = None,
) -> Selection:
    """Greedily pick the largest weights_j phi_j^T Sigma phi_j, each pick taken up by Sigma.

    Greedy, so that fewer picks are a prefix of more; ties go to the lower index. After one
    O(M D^2) pass a pick costs at most O(M D): all variances follow from rank-1 downdates
    (`WhitenedPool`). They only shrink, so an old one is an upper bound and a candidate is
    brought up to date only while its bound is the largest (Minoux 1978).

    Parameters
    ----------
    rows
        ``(M, D)`` feature rows phi of the pool; may be memory-mapped.
    n
        How many to pick; fewer are picked where the budget ends.
    posterior
        What the core set says.
    noise
        ``(M,)`` noise of the energy labels, eV. A pick adds the row phi / noise.
    weights
        ``(M,)`` or a number. 1 / n_atoms^2 gives the variance of the energy per atom (Eq. 5);
        1 / noise^2 picks as the information gain of energy labels does (Eq. 4).
    costs, budget
        ``(M,)`` costs that divide the scores, and their largest sum.

    Returns
    -------
    Scores are those maximised.
    """
    check_number(n, len(rows))
    noise = check_vector("noise", noise, len(rows))
    funds = Budget(len(rows), costs, budget)
    scale = check_vector("weights", weights, len(rows)) * noise**2 / funds.costs
    lazy = _LazyScores(WhitenedPool(posterior, rows, noise), scale)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < n and (is_open := funds.open).any():
        best = lazy.best(is_open)
        scores.append(float(lazy.scores[best]))
        picks.append(best)
        lazy.pool.observe(best)
        funds.spend(best)
    return selection(picks, scores)


class _LazyScores:
    """Upper bounds of all scores, exact for those that have seen every observation."""

    def __init__(self, pool: WhitenedPool, scale: np.ndarray) -> None:
        self.pool, self.scale = pool, scale
        self._start()

    def _start(self) -> None:
        self.scores = self.pool.lengths() * self.scale
        self._first = self.scores.copy()
        self._seen = np.zeros(len(self.scores), int)

    def best(self, is_open: np.ndarray) -> int:
        """The open candidate of the largest score."""
        best = self._best(is_open)
        if self.scores[best] < PRECISION * self._first[is_open].max():
            self.pool.rewhiten()
            self._start()
            best = self._best(is_open)
        return best

    def _best(self, is_open: np.ndarray) -> int:
        candidates = np.flatnonzero(is_open)
        size = FIRST_BATCH
        while True:
            scores = self.scores[candidates]
            best = int(candidates[np.argmax(scores)])
            if self._seen[best] == self.pool.n_observed:
                return best
            if size < len(candidates):
                top = candidates[np.argpartition(scores, -size)[-size:]]
            else:
                top = candidates
            self._update(top[self._seen[top] < self.pool.n_observed])
            size *= 2

    def _update(self, indices: np.ndarray) -> None:
        first, last = int(self._seen[indices].min()), self.pool.n_observed
        products = self.pool.projections(indices, first)
        products[np.arange(first, last) < self._seen[indices, None]] = 0.0
        fallen = self.scale[indices] * np.einsum("ij,ij->i", products, products)
        self.scores[indices] = np.maximum(self.scores[indices] - fallen, 0.0)
        self._seen[indices] = last
