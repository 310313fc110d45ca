"""Compiled sums of the many-body functions over the atoms of each species, and their adjoint.

Inner loops are over a block of atoms of one species, which become vector instructions. As in
`edge_passes`, no compiled function calls one of another file.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .tables import Products

PAD, BLOCK = 16, 64
"""Atoms of a block, the last one filled up with zeros to a multiple of the first number."""


@jit
def totals(
    products: Products, a: np.ndarray, weights: np.ndarray, order: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """``(G, NZ, K)``, functions of A ``(N, V)`` of each species summed with ``weights (G, N)``.

    Parameters
    ----------
    products, a, weights
        The functions, and what they are of.
    order, starts
        ``(N,)`` the atoms by species, and ``(NZ + 1,)`` where those of each begin.
    """
    n_singles, n_pairs, n_species = a.shape[1], len(products.pairs), len(starts) - 1
    sums = np.zeros((len(weights), n_species, n_singles + n_pairs + len(products.thirds)))
    block, share, product = np.zeros((n_singles, BLOCK)), np.zeros(BLOCK), np.zeros(BLOCK)
    for z in range(n_species):
        for begin in range(starts[z], starts[z + 1], BLOCK):
            ours = order[begin : min(begin + BLOCK, starts[z + 1])]
            width = (len(ours) + PAD - 1) // PAD * PAD
            _load(a, ours, width, block)
            for g in range(len(weights)):
                total_of = sums[g, z]
                _share(weights[g], ours, share)
                for v in range(n_singles):
                    total_of[v] += _dot(block[v], share, width)
                for p in range(n_pairs):
                    left, right = block[products.pairs[p, 0]], block[products.pairs[p, 1]]
                    for k in range(width):
                        product[k] = left[k] * right[k] * share[k]
                    total = 0.0
                    for k in range(width):
                        total += product[k]
                    total_of[n_singles + p] += total
                    for t in range(products.starts[p], products.starts[p + 1]):
                        third = block[products.thirds[t]]
                        total_of[n_singles + n_pairs + t] += _dot(third, product, width)
    found = np.zeros((len(weights), n_species, len(products.coupling_starts) - 1))
    for g in range(len(weights)):
        for z in range(n_species):
            total_of = sums[g, z]
            for f in range(found.shape[2]):
                total = 0.0
                for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                    total += products.coupling_values[c] * total_of[products.coupling_columns[c]]
                found[g, z, f] = total
    return found


@jit
def adjoint(
    products: Products,
    a: np.ndarray,
    weights: np.ndarray,
    order: np.ndarray,
    starts: np.ndarray,
    cotangents: np.ndarray,
) -> np.ndarray:
    """Gradient ``(N, V)`` of ``cotangents . totals`` by A.

    Parameters
    ----------
    products, a, weights, order, starts
        As given to `totals`.
    cotangents
        ``(G, NZ, K)``.
    """
    n_singles, n_pairs, n_species = a.shape[1], len(products.pairs), len(starts) - 1
    linear = np.zeros((len(weights), n_species, n_singles + n_pairs + len(products.thirds)))
    for g in range(len(weights)):
        for z in range(n_species):
            target = linear[g, z]
            for f in range(len(products.coupling_starts) - 1):
                factor = cotangents[g, z, f]
                for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                    target[products.coupling_columns[c]] += products.coupling_values[c] * factor
    found = np.empty(a.shape)
    block, by_block = np.zeros((n_singles, BLOCK)), np.zeros((n_singles, BLOCK))
    share, product, by_product = np.zeros(BLOCK), np.zeros(BLOCK), np.zeros(BLOCK)
    for z in range(n_species):
        for begin in range(starts[z], starts[z + 1], BLOCK):
            ours = order[begin : min(begin + BLOCK, starts[z + 1])]
            width = (len(ours) + PAD - 1) // PAD * PAD
            _load(a, ours, width, block)
            by_block[:, :width] = 0.0
            for g in range(len(weights)):
                _share(weights[g], ours, share)
                _add_adjoint(
                    products, linear[g, z], width, block, share, by_block, product, by_product
                )
            for k in range(len(ours)):
                for v in range(n_singles):
                    found[ours[k], v] = by_block[v, k]
    return found


@jit
def _add_adjoint(
    products: Products,
    linear: np.ndarray,
    width: int,
    block: np.ndarray,
    share: np.ndarray,
    by_block: np.ndarray,
    product: np.ndarray,
    by_product: np.ndarray,
) -> None:
    """Add the gradient of one sum by a block; the last two arrays are room to work in."""
    n_singles, n_pairs = len(block), len(products.pairs)
    for v in range(n_singles):
        target, factor = by_block[v], linear[v]
        for k in range(width):
            target[k] += factor * share[k]
    for p in range(n_pairs):
        one, other = products.pairs[p, 0], products.pairs[p, 1]
        left, right, factor = block[one], block[other], linear[n_singles + p]
        for k in range(width):
            product[k] = left[k] * right[k] * share[k]
        for k in range(width):
            by_product[k] = factor
        for t in range(products.starts[p], products.starts[p + 1]):
            factor = linear[n_singles + n_pairs + t]
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


@jit
def _load(a: np.ndarray, ours: np.ndarray, width: int, block: np.ndarray) -> None:
    """The rows of some atoms as columns, then zeros."""
    for k in range(len(ours)):
        for v in range(a.shape[1]):
            block[v, k] = a[ours[k], v]
    block[:, len(ours) : width] = 0.0


@jit
def _share(weights: np.ndarray, ours: np.ndarray, share: np.ndarray) -> None:
    """The weights of some atoms, then zeros."""
    share[:] = 0.0
    for k in range(len(ours)):
        share[k] = weights[ours[k]]


@jit
def _dot(left: np.ndarray, right: np.ndarray, count: int) -> float:
    total = 0.0
    for k in range(count):
        total += left[k] * right[k]
    return total
