"""MaxVol: D-optimal active sets and the extrapolation grade."""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr, solve

from .result import Selection, check_matrix, check_number, selection
from .whitened import row_blocks

TOLERANCE = 1.001
"""A row enters the active set if it makes the volume at least this many times larger."""
SMALL = 1e-3
"""Length of the unit rows that fill the active set where the core does not span the space."""


def max_volume(features: np.ndarray, n: int, core: np.ndarray | None = None) -> Selection:
    """Pick by extrapolation grade, each pick taken into the D-optimal active set.

    Podryabinkin and Shapeev (2017), one row per structure: the active set A holds D rows of
    locally largest |det A| (the MaxVol algorithm, Goreinov et al. 2010) of the core and of
    ``SMALL`` times the unit rows, which stand for what the core does not span. The grade of a
    candidate b is max_i |(b A^-1)_i|, the factor by which its best swap enlarges the volume.
    Each pick has the largest grade and is swapped in where that is above 1; a later pick may
    displace it from A, but it stays picked. Grades are not changed by a linear change of the
    features, up to the unit rows. Greedy, so that fewer picks are a prefix of more; ties go to
    the lower index. O(M D) per pick.

    Parameters
    ----------
    features
        ``(M, D)``, centred and scaled as wanted.
    n
        How many to pick.
    core
        ``(C, D)`` features of the core set.

    Returns
    -------
    Scores are grades; above 1 is extrapolation.
    """
    check_number(n, len(check_matrix("features", features)))
    width = features.shape[1]
    rows = np.concatenate([np.empty((0, width)) if core is None else core, SMALL * np.eye(width)])
    active = rows[active_set(rows)]
    swaps = solve(active.T, features.T).T
    waiting = np.ones(len(features), bool)
    picks: list[int] = []
    scores: list[float] = []
    for _ in range(n):
        grades = np.where(waiting, np.abs(swaps).max(axis=1), -np.inf)
        best = int(np.argmax(grades))
        picks.append(best)
        scores.append(float(grades[best]))
        waiting[best] = False
        if grades[best] > 1.0:
            _swap(swaps, best, int(np.argmax(np.abs(swaps[best]))))
    return selection(picks, scores)


def extrapolation_grades(features: np.ndarray, active: np.ndarray) -> np.ndarray:
    """max_i |(b A^-1)_i| ``(M,)`` of rows b ``(M, D)`` for active rows A ``(D, D)``."""
    return np.abs(solve(active.T, features.T)).max(axis=0)


def active_set(rows: np.ndarray) -> np.ndarray:
    """Indices ``(D,)`` of rows of locally largest volume: no swap of one row enlarges it.

    ``rows (M, D)`` must have rank D.
    """
    _, _, pivots = qr(rows.T, mode="economic", pivoting=True)
    active = pivots[: rows.shape[1]].copy()
    swaps = solve(rows[active].T, rows.T).T
    while True:
        row, place = np.unravel_index(np.argmax(np.abs(swaps)), swaps.shape)
        if abs(swaps[row, place]) <= TOLERANCE:
            return active
        active[place] = row
        _swap(swaps, int(row), int(place))


def _swap(swaps: np.ndarray, row: int, place: int) -> None:
    """Bring B = X A^-1 up to date, in place, after row ``row`` of X has entered A at ``place``."""
    step = swaps[row].copy()
    step[place] -= 1.0
    factors = swaps[:, place] / swaps[row, place]
    for block in row_blocks(len(swaps)):
        swaps[block] -= np.outer(factors[block], step)
