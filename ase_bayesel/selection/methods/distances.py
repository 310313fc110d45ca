"""Distances between feature rows, and farthest-point sampling."""

from __future__ import annotations

import numpy as np

from .result import Selection, check_matrix, check_number, selection
from .whitened import row_blocks


def standardised(pool: np.ndarray, core: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pool and core with mean 0 and standard deviation 1 in each column, both taken together.

    Columns that do not vary are left out. ``pool (M, D)`` and ``core (C, D)``; without a core
    the second array has no rows.
    """
    core = np.empty((0, pool.shape[1])) if core is None else core
    together = np.concatenate([pool, core])
    if len(together) == 0:
        return pool, core
    mean, spread = together.mean(axis=0), together.std(axis=0)
    kept = spread > 1e-12 * np.abs(together).max(axis=0)
    return (pool[:, kept] - mean[kept]) / spread[kept], (core[:, kept] - mean[kept]) / spread[kept]


def nearest_distance(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``(M,)`` Euclidean distance of each row of ``features`` to the nearest of ``others``."""
    lengths = np.sum(others**2, axis=1)
    nearest = np.empty(len(features))
    for block in row_blocks(len(features)):
        rows = features[block]
        squared = lengths - 2.0 * rows @ others.T
        nearest[block] = squared.min(axis=1) + np.sum(rows**2, axis=1)
    return np.sqrt(np.maximum(nearest, 0.0))


def farthest_points(features: np.ndarray, n: int, core: np.ndarray | None = None) -> Selection:
    """Farthest-point sampling that starts from the core set.

    Each pick has the largest Euclidean distance to the nearest structure of the core and of
    the picks so far. Without a core the first pick is the one farthest from the pool's mean.
    Greedy, so that fewer picks are a prefix of more; ties go to the lower index.

    Parameters
    ----------
    features
        ``(M, D)``, in the metric that is wanted; `standardised` is the usual one.
    n
        How many to pick.
    core
        ``(C, D)`` features of the core set.

    Returns
    -------
    Scores are those distances; without a core the first is the one to the mean.
    """
    check_number(n, len(check_matrix("features", features)))
    start = features.mean(axis=0)[None] if core is None or len(core) == 0 else core
    distance = nearest_distance(features, start)
    picks: list[int] = []
    scores: list[float] = []
    for _ in range(n):
        best = int(np.argmax(distance))
        picks.append(best)
        scores.append(float(distance[best]))
        to_pick = _distance(features, features[best])
        first_of_all = len(picks) == 1 and start is not core
        distance = to_pick if first_of_all else np.minimum(distance, to_pick)
        distance[picks] = -np.inf
    return selection(picks, scores)


def _distance(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    blocks = row_blocks(len(features))
    return np.concatenate([np.linalg.norm(features[b] - point, axis=1) for b in blocks])
