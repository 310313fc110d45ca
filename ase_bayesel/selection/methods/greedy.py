"""Bayesian selection with any score and any rows per label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...surrogate.posterior import Posterior
from .budget import Budget
from .result import Selection, check_number, selection

Rows = Callable[[int], np.ndarray]
"""Rows ``(k, D)`` of a candidate, by its index in the pool."""
Score = Callable[[Posterior, np.ndarray], np.ndarray]
"""Scores of some candidates ``(m,)`` -> ``(m,)`` under a posterior."""


def greedy(
    n_pool: int,
    n: int,
    posterior: Posterior,
    score: Score,
    rows: Rows,
    costs: Any = None,
    budget: float | None = None,
    shrinking: bool = True,
) -> Selection:
    """Greedily pick the largest score, each pick taken up by the posterior with all its rows.

    Greedy, so that fewer picks are a prefix of more; ties go to the lower index.

    Parameters
    ----------
    n_pool, n
        Size of the pool, and how many to pick.
    posterior
        What the core set says.
    score
        One of `scores`, or any other.
    rows
        The weighted rows that the label of a candidate will hold, ``(k, D)``.
    costs, budget
        ``(M,)`` costs that divide the scores, and their largest sum.
    shrinking
        Scores never grow as the posterior learns, as information gains (submodular),
        variances, and their sums. An old score is then an upper bound, and a candidate is
        scored anew only while its bound is the largest (lazy greedy, Minoux 1978), with the
        same picks. Otherwise each pick scores the whole pool.

    Returns
    -------
    Scores are divided by the costs.
    """
    check_number(n, n_pool)
    funds = Budget(n_pool, costs, budget)
    bounds = np.full(n_pool, -np.inf)
    everyone = np.flatnonzero(funds.open)
    bounds[everyone] = score(posterior, everyone) / funds.costs[everyone]
    scored_after = np.zeros(n_pool, int)  # picks before the last look at each candidate
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < n and (candidates := np.flatnonzero(funds.open)).size:
        if not shrinking and picks:
            bounds[candidates] = score(posterior, candidates) / funds.costs[candidates]
            scored_after[candidates] = len(picks)
        while scored_after[best := int(candidates[np.argmax(bounds[candidates])])] < len(picks):
            bounds[best] = score(posterior, np.array([best]))[0] / funds.costs[best]
            scored_after[best] = len(picks)
        picks.append(best)
        scores.append(float(bounds[best]))
        funds.spend(best)
        if len(picks) < n:
            posterior = posterior.condition(rows(best))
    return selection(picks, scores)
