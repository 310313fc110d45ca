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
OnPicking = Callable[[str, int, int], None]
"""Called with (``"candidates"`` looked at or ``"picks"`` made, how many, of how many)."""
FIRST_LOOKS = 20
"""In so many parts the whole pool is looked at before the first pick."""


def greedy(
    n_pool: int,
    n: int,
    posterior: Posterior,
    score: Score,
    rows: Rows,
    costs: Any = None,
    budget: float | None = None,
    shrinking: bool = True,
    bound: Score | None = None,
    on_picking: OnPicking | None = None,
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
    bound
        Something at least as large as the score, and cheaper (`label_grams`): candidates are
        scored only while their bound is the largest, with the same picks.
    on_picking
        Told of how far it is: before the first pick, and after each.

    Returns
    -------
    Scores are divided by the costs.
    """
    check_number(n, n_pool)
    funds = Budget(n_pool, costs, budget)
    cheap = score if bound is None else bound
    bounds = np.full(n_pool, -np.inf)
    everyone = np.flatnonzero(funds.open)
    for part in np.array_split(everyone, FIRST_LOOKS):
        bounds[part] = cheap(posterior, part) / funds.costs[part]
        if on_picking is not None and len(part):
            on_picking("candidates", int(np.searchsorted(everyone, part[-1])) + 1, len(everyone))
    looked_after = np.zeros(n_pool, int)  # picks before the last look at each candidate
    scored = np.full(n_pool, bound is None)
    picks: list[int] = []
    scores: list[float] = []
    while len(picks) < n and (candidates := np.flatnonzero(funds.open)).size:
        if not shrinking and picks:
            bounds[candidates] = cheap(posterior, candidates) / funds.costs[candidates]
            looked_after[candidates] = len(picks)
            scored[candidates] = bound is None
        while True:
            best = int(candidates[np.argmax(bounds[candidates])])
            old = looked_after[best] < len(picks)
            if not old and scored[best]:
                break
            look = cheap if old else score
            bounds[best] = look(posterior, np.array([best]))[0] / funds.costs[best]
            looked_after[best], scored[best] = len(picks), look is score
        picks.append(best)
        scores.append(float(bounds[best]))
        funds.spend(best)
        if on_picking is not None:
            on_picking("picks", len(picks), n)
        if len(picks) < n:
            posterior = posterior.condition(rows(best))
    return selection(picks, scores)
