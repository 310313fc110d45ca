"""Tables of the many-body functions' slopes by A, for the compiled Jacobians."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..basis import ManyBodyBasis

GROUP = 4
"""Slopes of a function are taken this many at a time, the last ones filled up with zeros."""


class Slopes(NamedTuple):
    """dB/dA of the K many-body functions of a centre.

    Attributes
    ----------
    pairs
        ``(P, 2)`` products of two A, what derivatives leave of triples.
    starts
        ``(K + 1,)`` where the slopes of each function begin, multiples of `GROUP`.
    by
        By which A each slope is; filled up with 0.
    slope_starts, slope_columns, slope_values
        Slopes compressed by rows; columns are 1, the V functions A, the pairs.
    """

    pairs: np.ndarray
    starts: np.ndarray
    by: np.ndarray
    slope_starts: np.ndarray
    slope_columns: np.ndarray
    slope_values: np.ndarray


def slopes_of(basis: ManyBodyBasis) -> Slopes:
    """The tables of a basis: a monomial's derivative by one of its factors is the rest of it."""
    used = np.abs(basis.value) > 1e-14 * np.abs(basis.value).max(initial=1.0)
    feature, value = basis.feature[used], basis.value[used]
    factors = np.sort(basis.factors[used], axis=1)[:, ::-1]  # absent ones, -1, come last
    body, n = (factors >= 0).sum(axis=1), basis.n_one_particle
    thrice = factors[body == 3]
    rests = [thrice[:, [1, 2]], thrice[:, [0, 2]], thrice[:, [0, 1]]]
    pairs, which = np.unique(np.concatenate(rests), axis=0, return_inverse=True)
    sides = np.split(which.ravel(), 3)

    by = [factors[body == 1][:, 0], *factors[body == 2][:, :2].T, *thrice.T]
    rest = [np.zeros(int((body == 1).sum()), int), *1 + factors[body == 2][:, [1, 0]].T]
    rest += [1 + n + side for side in sides]
    of = [np.flatnonzero(body == k) for k in (1, 2, 2, 3, 3, 3)]
    monomial = np.concatenate(of)
    places, slot = np.unique(feature[monomial] * n + np.concatenate(by), return_inverse=True)
    count = np.bincount(places // n, minlength=len(basis.functions))
    ends = np.cumsum((count + GROUP - 1) // GROUP * GROUP)
    starts = np.concatenate([[0], ends])
    filled = starts[places // n] + np.arange(len(places)) - np.searchsorted(places, places // n * n)
    by_each = np.zeros(starts[-1], int)
    by_each[filled] = places % n
    rows, columns = filled[slot.ravel()], np.concatenate(rest)
    entries = np.lexsort((columns, rows))
    slope_starts = np.searchsorted(rows[entries], np.arange(starts[-1] + 1))
    values = value[monomial][entries]
    return Slopes(pairs, starts, by_each, slope_starts, columns[entries], values)
