"""Bayesian selection that aims at named predictions: I- and c-optimal."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from ...surrogate.posterior import Posterior
from .budget import Budget
from .result import Selection, check_matrix, check_number, check_vector, selection
from .variance import PRECISION
from .whitened import WhitenedPool, row_blocks


def target_gram(posterior: Posterior, targets: np.ndarray) -> np.ndarray:
    """sum_t w_t w_t^T ``(D, D)`` of the whitened targets w = R^-T t; its trace is the variance.

    ``targets (T, D)`` are linear functionals of the coefficients.
    """
    gram = np.zeros((posterior.n_features, posterior.n_features))
    for block in row_blocks(len(targets)):
        white = posterior.whiten(targets[block])
        gram += white @ white.T
    return gram


def target_variance(
    rows: np.ndarray,
    n: int,
    posterior: Posterior,
    noise: np.ndarray,
    targets: np.ndarray,
    costs: Any = None,
    budget: float | None = None,
) -> Selection:
    """Greedily pick what most reduces the summed variance of the targets.

    The targets t are linear functionals of the coefficients, and their variance
    sum_t t^T Sigma t falls by  sum_t (t^T Sigma phi)^2 / (noise^2 + phi^T Sigma phi)  when an
    energy is labelled. Rows phi_t / (N_t sqrt(T)) of T structures make it the mean variance of
    the energy per atom over them: I-optimal (also called transductive or V-optimal). One row
    sum_s c_s phi_s makes it the variance of the property sum_s c_s E_s: c-optimal.
    Greedy, so that fewer picks are a prefix of more; ties go to the lower index. O(M D) per
    pick after one O((M + T) D^2) pass. Unlike the variances themselves the reductions need
    not shrink as picks are made, so all of them are brought up to date.

    Parameters
    ----------
    rows, n, posterior, noise, costs, budget
        As in `variance.energy_variance`.
    targets
        ``(T, D)``, one or more.

    Returns
    -------
    Scores are the reductions of the summed variance, divided by the cost.
    """
    check_number(n, len(rows))
    noise = check_vector("noise", noise, len(rows))
    funds = Budget(len(rows), costs, budget)
    reductions = _Reductions(
        WhitenedPool(posterior, rows, noise),
        target_gram(posterior, check_matrix("targets", targets)),
        funds.costs,
    )
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < n and (is_open := funds.open).any():
        best, score = reductions.best(is_open)
        picks.append(best)
        scores.append(score)
        reductions.observe(best)
        funds.spend(best)
    return selection(picks, scores)


class _Reductions:
    """v_j = p_j^T S p_j and q_j = p_j^T S G S p_j of all candidates, by rank-1 updates.

    G is the targets' Gram matrix; the reduction is q / (1 + v). With S' = S - u u^T and
    h = S G u:  v' = v - (p.u)^2  and  q' = q - 2 (p.u)(p.h) + (u^T G u)(p.u)^2.
    """

    def __init__(self, pool: WhitenedPool, gram: np.ndarray, costs: np.ndarray) -> None:
        self.pool, self.gram, self.costs = pool, gram, costs
        self._start()

    def _start(self) -> None:
        self.variance = self.pool.lengths()
        self.product = np.empty(len(self.variance))
        for block in row_blocks(len(self.product)):
            rows = self.pool.rows[block]
            self.product[block] = np.einsum("ij,ij->i", rows @ self.gram, rows)
        self._first = self.product.copy()

    def best(self, is_open: np.ndarray) -> tuple[int, float]:
        """The open candidate of the largest reduction per cost, and that."""
        scores = self._scores(self.product, is_open)
        if scores.max() < PRECISION * self._scores(self._first, is_open).max():
            factor = self.pool.rewhiten()
            half = solve_triangular(factor, self.gram, trans="T")
            self.gram = solve_triangular(factor, half.T, trans="T")
            self._start()
            scores = self._scores(self.product, is_open)
        best = int(np.argmax(scores))
        return best, float(scores[best])

    def _scores(self, product: np.ndarray, is_open: np.ndarray) -> np.ndarray:
        scores = np.maximum(product, 0.0) / (1.0 + self.variance) / self.costs
        return np.where(is_open, scores, -np.inf)

    def observe(self, index: int) -> None:
        """Bring all v and q up to date with one more label."""
        direction = self.pool.observe(index)
        image = self.gram @ direction
        both = float(direction @ image)
        before = self.pool.times_covariance(image) + direction * both
        along, across = (self.pool.rows @ np.stack([direction, before], axis=1)).T
        self.variance = np.maximum(self.variance - along**2, 0.0)
        self.product += along * (both * along - 2.0 * across)
