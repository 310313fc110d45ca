"""Compiled sums of the many-body functions over atoms of one species, and their adjoint.

Inner loops are over the atoms of a block, which become vector instructions. As in `edge_passes`,
no compiled function calls one of another file.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .tables import Products

PAD, BLOCK = 16, 64
"""Atoms of a block, the last one filled up with zeros to a multiple of the first number."""


@jit
def totals(products: Products, a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``(G, K)``, functions of A ``(N, V)`` summed with ``weights (G, N)``."""
    n_atoms, n_singles, n_pairs = a.shape[0], a.shape[1], len(products.pairs)
    sums = np.zeros((len(weights), n_singles + n_pairs + len(products.thirds)))
    block, share, product = np.zeros((n_singles, BLOCK)), np.zeros(BLOCK), np.zeros(BLOCK)
    for begin in range(0, n_atoms, BLOCK):
        end = min(begin + BLOCK, n_atoms)
        width = (end - begin + PAD - 1) // PAD * PAD
        _load(a, begin, end, width, block)
        for g in range(len(weights)):
            share[:] = 0.0
            share[: end - begin] = weights[g, begin:end]
            for v in range(n_singles):
                sums[g, v] += _dot(block[v], share, width)
            for p in range(n_pairs):
                left, right = block[products.pairs[p, 0]], block[products.pairs[p, 1]]
                for k in range(width):
                    product[k] = left[k] * right[k] * share[k]
                total = 0.0
                for k in range(width):
                    total += product[k]
                sums[g, n_singles + p] += total
                for t in range(products.starts[p], products.starts[p + 1]):
                    third = block[products.thirds[t]]
                    sums[g, n_singles + n_pairs + t] += _dot(third, product, width)
    found = np.zeros((len(weights), len(products.coupling_starts) - 1))
    for g in range(len(weights)):
        for f in range(found.shape[1]):
            for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                found[g, f] += products.coupling_values[c] * sums[g, products.coupling_columns[c]]
    return found


@jit
def adjoint(
    products: Products, a: np.ndarray, weights: np.ndarray, cotangents: np.ndarray
) -> np.ndarray:
    """Gradient ``(N, V)`` of ``cotangents . totals`` by A.

    Parameters
    ----------
    products, a, weights
        As given to `totals`.
    cotangents
        ``(G, K)``.
    """
    n_atoms, n_singles, n_pairs = a.shape[0], a.shape[1], len(products.pairs)
    linear = np.zeros((len(weights), n_singles + n_pairs + len(products.thirds)))
    for g in range(len(weights)):
        for f in range(len(products.coupling_starts) - 1):
            for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                column = products.coupling_columns[c]
                linear[g, column] += products.coupling_values[c] * cotangents[g, f]
    found = np.empty((n_atoms, n_singles))
    block, by_block = np.zeros((n_singles, BLOCK)), np.zeros((n_singles, BLOCK))
    share, product, by_product = np.zeros(BLOCK), np.zeros(BLOCK), np.zeros(BLOCK)
    for begin in range(0, n_atoms, BLOCK):
        end = min(begin + BLOCK, n_atoms)
        width = (end - begin + PAD - 1) // PAD * PAD
        _load(a, begin, end, width, block)
        by_block[:, :width] = 0.0
        for g in range(len(weights)):
            share[:] = 0.0
            share[: end - begin] = weights[g, begin:end]
            for v in range(n_singles):
                target, factor = by_block[v], linear[g, v]
                for k in range(width):
                    target[k] += factor * share[k]
            for p in range(n_pairs):
                one, other = products.pairs[p, 0], products.pairs[p, 1]
                left, right, factor = block[one], block[other], linear[g, n_singles + p]
                for k in range(width):
                    product[k] = left[k] * right[k] * share[k]
                for k in range(width):
                    by_product[k] = factor
                for t in range(products.starts[p], products.starts[p + 1]):
                    factor = linear[g, n_singles + n_pairs + t]
                    third, by_third = block[products.thirds[t]], by_block[products.thirds[t]]
                    for k in range(width):
                        by_product[k] += factor * third[k]
                        by_third[k] += factor * product[k]
                for k in range(width):
                    by_product[k] *= share[k]
                by_left, by_right = by_block[one], by_block[other]
                for k in range(width):
                    by_left[k] += by_product[k] * right[k]
                for k in range(width):
                    by_right[k] += by_product[k] * left[k]
        for k in range(end - begin):
            for v in range(n_singles):
                found[begin + k, v] = by_block[v, k]
    return found


@jit
def _load(a: np.ndarray, begin: int, end: int, width: int, block: np.ndarray) -> None:
    """The rows of some atoms as columns, then zeros."""
    for k in range(end - begin):
        for v in range(a.shape[1]):
            block[v, k] = a[begin + k, v]
    block[:, end - begin : width] = 0.0


@jit
def _dot(left: np.ndarray, right: np.ndarray, count: int) -> float:
    total = 0.0
    for k in range(count):
        total += left[k] * right[k]
    return total
