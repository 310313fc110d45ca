"""Simple random sampling."""

from __future__ import annotations

import numpy as np

from .result import Selection, check_number, selection


def simple_random(n_pool: int, n: int, rng: np.random.Generator) -> Selection:
    """``n`` of ``n_pool`` without replacement.

    From equal generators fewer picks are a prefix of more. No scores.
    """
    check_number(n, n_pool)
    return selection(rng.permutation(n_pool)[:n].tolist())
