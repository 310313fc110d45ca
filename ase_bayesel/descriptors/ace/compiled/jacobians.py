"""Compiled many-body functions of single atoms, and Jacobians of a structure's sum.

Products and slopes are made for `BLOCK` atoms side by side; then each atom's slopes, of which few
are not zero, are multiplied by what A does where atoms move (`movements`).
As in `edge_passes`, no compiled function calls one of another file.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .slope_tables import GROUP, Slopes
from .tables import Products

BLOCK = 8
"""Atoms that are worked on at a time."""


@jit
def many_body_values(products: Products, a: np.ndarray) -> np.ndarray:
    """The many-body functions ``(N, K)`` of each atom's A ``(N, V)``."""
    n_singles, n_pairs = a.shape[1], len(products.pairs)
    terms = np.zeros((n_singles + n_pairs + len(products.thirds), BLOCK))
    found, total = np.empty((len(a), len(products.coupling_starts) - 1)), np.zeros(BLOCK)
    for begin in range(0, len(a), BLOCK):
        count = min(BLOCK, len(a) - begin)
        _load(products.pairs, a, begin, count, terms)
        for p in range(n_pairs):
            pair = terms[n_singles + p]
            for t in range(products.starts[p], products.starts[p + 1]):
                target, single = terms[n_singles + n_pairs + t], terms[products.thirds[t]]
                for k in range(BLOCK):
                    target[k] = pair[k] * single[k]
        for f in range(found.shape[1]):
            total[:] = 0.0
            for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                row, factor = terms[products.coupling_columns[c]], products.coupling_values[c]
                for k in range(BLOCK):
                    total[k] += factor * row[k]
            for k in range(count):
                found[begin + k, f] = total[k]
    return found


@jit
def slope_values(slopes: Slopes, a: np.ndarray) -> np.ndarray:
    """The slopes of the many-body functions ``(n, .)`` of up to `BLOCK` atoms, of A ``(n, V)``."""
    terms, total = np.zeros((a.shape[1] + len(slopes.pairs), BLOCK)), np.zeros(BLOCK)
    _load(slopes.pairs, a, 0, len(a), terms)
    found = np.empty((len(a), len(slopes.by)))
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
            found[k, s] = total[k]
    return found


@jit
def add_jacobian(
    slopes: Slopes,
    values: np.ndarray,
    moved: np.ndarray,
    targets: np.ndarray,
    n_pairs: int,
    first: int,
    jacobian: np.ndarray,
    strain: np.ndarray,
) -> None:
    """Add the features of an atom to the derivatives of all sums.

    Parameters
    ----------
    slopes, values
        The functions, and the atom's `slope_values`.
    moved, targets
        What `movements` gave for it.
    n_pairs, first
        How many pair features there are, and where the many-body features of its species begin.
    jacobian, strain
        ``(D, n_atoms, 3)`` and ``(D, 6)``, the sums.
    """
    n_singles, width = len(moved) - n_pairs, moved.shape[1]
    row = np.empty(width)
    for p in range(n_pairs):
        _spread(moved[n_singles + p], targets, jacobian[p], strain[p])
    for f in range(len(slopes.starts) - 1):
        row[:] = 0.0
        for s in range(slopes.starts[f], slopes.starts[f + 1], GROUP):
            one, two, three, four = values[s], values[s + 1], values[s + 2], values[s + 3]
            left, right = moved[slopes.by[s]], moved[slopes.by[s + 1]]
            third, fourth = moved[slopes.by[s + 2]], moved[slopes.by[s + 3]]
            for k in range(width):
                row[k] += one * left[k] + two * right[k] + three * third[k] + four * fourth[k]
        _spread(row, targets, jacobian[first + f], strain[first + f])


@jit
def _load(pairs: np.ndarray, a: np.ndarray, begin: int, count: int, terms: np.ndarray) -> None:
    """A of some atoms as columns, the rest zeros, and their pair products."""
    n_singles = a.shape[1]
    for v in range(n_singles):
        for k in range(count):
            terms[v, k] = a[begin + k, v]
        for k in range(count, BLOCK):
            terms[v, k] = 0.0
    for p in range(len(pairs)):
        target = terms[n_singles + p]
        left, right = terms[pairs[p, 0]], terms[pairs[p, 1]]
        for k in range(BLOCK):
            target[k] = left[k] * right[k]


@jit
def _spread(
    row: np.ndarray,
    targets: np.ndarray,
    jacobian: np.ndarray,
    strain: np.ndarray,
) -> None:
    """Add one feature's derivatives by the moved atoms to ``(n_atoms, 3)``, and by strain."""
    stride = len(targets)
    for t in range(stride):
        target = jacobian[targets[t]]
        target[0] += row[t]
        target[1] += row[stride + t]
        target[2] += row[2 * stride + t]
    for k in range(6):
        strain[k] += row[3 * stride + k]
