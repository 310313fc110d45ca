"""Compiled many-body functions of single atoms, and Jacobians of a structure's sum.

Products and slopes are made for `BLOCK` atoms side by side; then each atom's slopes are multiplied
by what A does where atoms move (`edge_passes.movements`). Of a function's slopes few are not zero:
this is what dense products cannot make use of.
As in `edge_passes`, no compiled function calls one of another file.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .slope_tables import GROUP, Slopes

BLOCK = 8
"""Atoms that are worked on at a time."""


@jit
def many_body_values(slopes: Slopes, a: np.ndarray) -> np.ndarray:
    """The many-body functions ``(N, K)`` of each atom's A ``(N, V)``."""
    n_singles, n_pairs = a.shape[1], len(slopes.pairs)
    terms = np.zeros((n_singles + n_pairs + len(slopes.triples), BLOCK))
    found = np.empty((len(a), len(slopes.value_starts) - 1))
    total = np.zeros(BLOCK)
    for begin in range(0, len(a), BLOCK):
        count = min(BLOCK, len(a) - begin)
        _load(slopes, a, begin, count, terms)
        pairs = terms[n_singles : n_singles + n_pairs]
        for t in range(len(slopes.triples)):
            target, pair = terms[n_singles + n_pairs + t], pairs[slopes.triples[t, 0]]
            single = terms[slopes.triples[t, 1]]
            for k in range(BLOCK):
                target[k] = pair[k] * single[k]
        for f in range(found.shape[1]):
            total[:] = 0.0
            for c in range(slopes.value_starts[f], slopes.value_starts[f + 1]):
                row, factor = terms[slopes.value_columns[c]], slopes.value_values[c]
                for k in range(BLOCK):
                    total[k] += factor * row[k]
            for k in range(count):
                found[begin + k, f] = total[k]
    return found


@jit
def add_jacobians(
    slopes: Slopes,
    a: np.ndarray,
    moved: np.ndarray,
    targets: np.ndarray,
    counts: np.ndarray,
    firsts: np.ndarray,
    jacobian: np.ndarray,
    strain: np.ndarray,
) -> None:
    """Add the features of up to `BLOCK` atoms to the derivatives of all sums.

    Parameters
    ----------
    slopes
        The functions.
    a
        ``(n, V)`` of these atoms.
    moved, targets, counts
        What `edge_passes.movements` gave for them.
    firsts
        ``(n,)`` where the many-body features of each atom's species begin.
    jacobian, strain
        ``(D, n_atoms, 3)`` and ``(D, 6)``, the sums.
    """
    n_singles, n_pairs = a.shape[1], len(slopes.pairs)
    terms = np.zeros((n_singles + n_pairs, BLOCK))
    _load(slopes, a, 0, len(a), terms)
    factors = np.empty((len(a), len(slopes.by)))
    total = np.zeros(BLOCK)
    for s in range(len(slopes.by)):
        total[:] = 0.0
        for c in range(slopes.slope_starts[s], slopes.slope_starts[s + 1]):
            column, factor = slopes.slope_columns[c], slopes.slope_values[c]
            if column == 0:
                for k in range(BLOCK):
                    total[k] += factor
            else:
                row = terms[column - 1]
                for k in range(BLOCK):
                    total[k] += factor * row[k]
        for k in range(len(a)):
            factors[k, s] = total[k]
    width = moved.shape[2]
    row, stride = np.empty(width), targets.shape[1]
    for i in range(len(a)):
        ours, theirs = moved[i], factors[i]
        for p in range(ours.shape[0] - n_singles):
            _spread(ours[n_singles + p], targets[i], counts[i], stride, jacobian[p], strain[p])
        for f in range(len(slopes.starts) - 1):
            row[:] = 0.0
            for s in range(slopes.starts[f], slopes.starts[f + 1], GROUP):
                one, two, three, four = theirs[s], theirs[s + 1], theirs[s + 2], theirs[s + 3]
                first, second = ours[slopes.by[s]], ours[slopes.by[s + 1]]
                third, fourth = ours[slopes.by[s + 2]], ours[slopes.by[s + 3]]
                for k in range(width):
                    row[k] += one * first[k] + two * second[k] + three * third[k] + four * fourth[k]
            place = firsts[i] + f
            _spread(row, targets[i], counts[i], stride, jacobian[place], strain[place])


@jit
def _load(slopes: Slopes, a: np.ndarray, begin: int, count: int, terms: np.ndarray) -> None:
    """A of some atoms as columns, the rest zeros, and their pair products."""
    n_singles = a.shape[1]
    for v in range(n_singles):
        for k in range(count):
            terms[v, k] = a[begin + k, v]
        for k in range(count, BLOCK):
            terms[v, k] = 0.0
    for p in range(len(slopes.pairs)):
        target = terms[n_singles + p]
        left, right = terms[slopes.pairs[p, 0]], terms[slopes.pairs[p, 1]]
        for k in range(BLOCK):
            target[k] = left[k] * right[k]


@jit
def _spread(
    row: np.ndarray,
    targets: np.ndarray,
    count: int,
    stride: int,
    jacobian: np.ndarray,
    strain: np.ndarray,
) -> None:
    """Add one feature's derivatives by the moved atoms to ``(n_atoms, 3)``, and by strain."""
    for t in range(count):
        target = jacobian[targets[t]]
        target[0] += row[t]
        target[1] += row[stride + t]
        target[2] += row[2 * stride + t]
    for k in range(6):
        strain[k] += row[3 * stride + k]
