"""Predicted cost of each label, and what is left of a budget."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import SelectionError
from .result import check_vector


class Budget:
    """Costs ``(M,)`` of the candidates, and which of them can still be picked.

    Scores are divided by the costs; a candidate that the rest of the budget does not cover
    is passed over. Without costs each candidate costs 1; without a limit all are affordable.
    """

    def __init__(self, n_pool: int, costs: Any = None, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise SelectionError(f"budget: expected a positive number, got {limit}")
        self.costs = check_vector("costs", 1.0 if costs is None else costs, n_pool)
        self._left = np.inf if limit is None else float(limit)
        self._waiting = np.ones(n_pool, bool)

    @property
    def open(self) -> np.ndarray:
        """``(M,)`` true for candidates that are not picked and affordable."""
        return self._waiting & (self.costs <= self._left)

    def spend(self, index: int) -> None:
        """Note that a candidate has been picked."""
        self._left -= self.costs[index]
        self._waiting[index] = False
