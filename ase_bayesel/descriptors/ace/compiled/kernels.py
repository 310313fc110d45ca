"""The compiled forward and backward pass of linear ACE over one structure.

Edges of an atom lie side by side, those of a species of neighbours in a run that is padded to a
multiple of `PAD`, so that all inner loops are over the edges of a run or the atoms of a block
and become vector instructions. Nothing as long as all edges is formed but the edges themselves:
radials and harmonics of a run are made where they are used, in memory that stays in the cache.

All compiled functions are in this file, since what is kept of them on disk is made anew only
where the file has changed.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .jit import jit
from .tables import Angular, Neighbourhood, OneParticle, Radials, Tables, Work

PAD = 16
"""Edges of a run, and atoms of a block, are filled up to a multiple of so many."""
BLOCK = 64
"""Atoms of one species whose products are formed together."""


@jit
def forward(
    tables: Tables,
    positions: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    species: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
) -> tuple[Neighbourhood, np.ndarray, np.ndarray]:
    """Weighted sums of the features over the atoms, and what `backward` needs.

    Parameters
    ----------
    tables
        The basis.
    positions
        ``(N, 3)``, A.
    first, second, offsets
        ``(P,)``, ``(P,)`` and ``(3, P)``: pairs that may be within the cutoff, sorted by the
        first; a vector is ``r_second - r_first + offset``.
    species, order
        ``(N,)`` of each atom, and the atoms sorted by it.
    weights
        ``(G, N)`` of each atom in each of G sums.

    Returns
    -------
    The edges, A ``(V, N)`` with its columns in ``order``, and the sums ``(G, D)``.
    """
    edges = _edges(tables, positions, first, second, offsets, species)
    products = tables.products
    n_atoms, n_species = len(species), tables.type_of.shape[0]
    n_singles, n_pairs = tables.n_one_particle, len(products.pairs)
    n_rows = n_singles + n_pairs + len(products.thirds)
    n_degree = tables.radials.pair.shape[1]
    n_functions = len(products.coupling_starts) - 1
    n_pair_features = len(tables.radials.r0) * n_degree
    a = np.zeros((n_singles, n_atoms))
    phi = np.zeros((len(weights), n_pair_features + n_species * n_functions))
    work = _work(tables, edges)
    totals = np.zeros((len(weights), n_rows))
    block, shares = np.zeros((n_singles, BLOCK)), np.zeros((len(weights), BLOCK))
    product = np.zeros(BLOCK)

    begin = 0
    while begin < n_atoms:
        centre = species[order[begin]]
        end = begin
        while end < n_atoms and end < begin + BLOCK and species[order[end]] == centre:
            end += 1
        width = (end - begin + PAD - 1) // PAD * PAD
        block[:, :width] = 0.0
        shares[:, :width] = 0.0
        for k in range(end - begin):
            i = order[begin + k]
            for g in range(len(weights)):
                shares[g, k] = weights[g, i]
            for z in range(n_species):
                start = edges.starts[i * n_species + z]
                count = edges.starts[i * n_species + z + 1] - start
                if count == 0:
                    continue
                kind = tables.type_of[centre, z]
                _arguments(tables.radials, edges, start, count, kind, work)
                _radials(tables.radials, edges, start, count, kind, False, work)
                _harmonics(tables.angular, count, work)
                _add_one_particle(tables.one_particle, count, z, work, block[:, k])
                for n in range(n_degree):
                    row, total = work.pairs[0, n], 0.0
                    for e in range(count):
                        total += row[e]
                    for g in range(len(weights)):
                        phi[g, kind * n_degree + n] += weights[g, i] * total
        for v in range(n_singles):
            a[v, begin:end] = block[v, : end - begin]

        for g in range(len(weights)):
            share, total = shares[g], totals[g]
            for v in range(n_singles):
                total[v] += _dot(block[v], share, width)
            for p in range(n_pairs):
                left, right = block[products.pairs[p, 0]], block[products.pairs[p, 1]]
                for k in range(width):
                    product[k] = left[k] * right[k]
                total[n_singles + p] += _dot(product, share, width)
                for k in range(width):
                    product[k] *= share[k]
                for t in range(products.starts[p], products.starts[p + 1]):
                    total[n_singles + n_pairs + t] += _dot(block[products.thirds[t]], product, width)
        begin = end
        if begin == n_atoms or species[order[begin]] != centre:
            place = n_pair_features + centre * n_functions
            for g in range(len(weights)):
                for f in range(n_functions):
                    for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                        phi[g, place + f] += (
                            products.coupling_values[c] * totals[g, products.coupling_columns[c]]
                        )
            totals[:] = 0.0
    return edges, a, phi


@jit
def backward(
    tables: Tables,
    edges: Neighbourhood,
    a: np.ndarray,
    species: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
    cotangents: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of ``cotangents (G, D) . sums`` by positions ``(N, 3)`` and by strain ``(3, 3)``.

    Parameters
    ----------
    tables, species, order, weights
        As given to `forward`.
    edges, a
        What it returned.
    cotangents
        ``(G, D)``.
    """
    products = tables.products
    n_atoms, n_species = len(species), tables.type_of.shape[0]
    n_singles, n_pairs = tables.n_one_particle, len(products.pairs)
    n_degree = tables.radials.pair.shape[1]
    n_functions = len(products.coupling_starts) - 1
    n_pair_features = len(tables.radials.r0) * n_degree
    n_rows = n_singles + n_pairs + len(products.thirds)
    positions, strain = np.zeros((n_atoms, 3)), np.zeros((3, 3))
    work = _work(tables, edges)
    linear = np.zeros((len(weights), n_rows))
    block, by_a = np.zeros((n_singles, BLOCK)), np.zeros((n_singles, BLOCK))
    column, pair_weights = np.zeros(n_singles), np.zeros(n_degree)
    share, product, by_product = np.zeros(BLOCK), np.zeros(BLOCK), np.zeros(BLOCK)

    begin, before = 0, -1
    while begin < n_atoms:
        centre = species[order[begin]]
        if centre != before:
            linear[:] = 0.0
            place = n_pair_features + centre * n_functions
            for g in range(len(weights)):
                for f in range(n_functions):
                    factor = cotangents[g, place + f]
                    for c in range(products.coupling_starts[f], products.coupling_starts[f + 1]):
                        linear[g, products.coupling_columns[c]] += products.coupling_values[c] * factor
            before = centre
        end = begin
        while end < n_atoms and end < begin + BLOCK and species[order[end]] == centre:
            end += 1
        width = (end - begin + PAD - 1) // PAD * PAD
        block[:, :width] = 0.0
        by_a[:, :width] = 0.0
        for v in range(n_singles):
            block[v, : end - begin] = a[v, begin:end]

        for g in range(len(weights)):
            share[:width] = 0.0
            for k in range(end - begin):
                share[k] = weights[g, order[begin + k]]
            for v in range(n_singles):
                _add(by_a[v], linear[g, v], share, width)
            for p in range(n_pairs):
                left, right = block[products.pairs[p, 0]], block[products.pairs[p, 1]]
                factor = linear[g, n_singles + p]
                for k in range(width):
                    product[k] = left[k] * right[k] * share[k]
                for k in range(width):
                    by_product[k] = factor
                for t in range(products.starts[p], products.starts[p + 1]):
                    factor = linear[g, n_singles + n_pairs + t]
                    third = products.thirds[t]
                    _add(by_product, factor, block[third], width)
                    _add(by_a[third], factor, product, width)
                for k in range(width):
                    by_product[k] *= share[k]
                by_left, by_right = by_a[products.pairs[p, 0]], by_a[products.pairs[p, 1]]
                for k in range(width):
                    by_left[k] += by_product[k] * right[k]
                for k in range(width):
                    by_right[k] += by_product[k] * left[k]

        for k in range(end - begin):
            i = order[begin + k]
            column[:] = by_a[:, k]
            for z in range(n_species):
                start = edges.starts[i * n_species + z]
                count = edges.starts[i * n_species + z + 1] - start
                if count == 0:
                    continue
                kind = tables.type_of[centre, z]
                for n in range(n_degree):
                    pair_weights[n] = 0.0
                    for g in range(len(weights)):
                        pair_weights[n] += weights[g, i] * cotangents[g, kind * n_degree + n]
                _arguments(tables.radials, edges, start, count, kind, work)
                _radials(tables.radials, edges, start, count, kind, True, work)
                _harmonics(tables.angular, count, work)
                _pull_back(tables.one_particle, tables.angular, count, z, work, column, pair_weights)
                _scatter(edges, start, count, i, work, positions, strain)
        begin = end
    return positions, strain


@jit
def _dot(left: np.ndarray, right: np.ndarray, count: int) -> float:
    total = 0.0
    for k in range(count):
        total += left[k] * right[k]
    return total


@jit
def _add(target: np.ndarray, factor: float, row: np.ndarray, count: int) -> None:
    for k in range(count):
        target[k] += factor * row[k]


@jit
def _edges(
    tables: Tables,
    positions: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    species: np.ndarray,
) -> Neighbourhood:
    """The pairs within the cutoff, in runs."""
    n_atoms, n_species = len(species), tables.type_of.shape[0]
    size = len(first) + n_atoms * n_species * (PAD - 1)
    starts = np.zeros(n_atoms * n_species + 1, np.int64)
    neighbours = np.empty(size, np.int64)
    vectors, lengths = np.empty((3, size)), np.empty(size)
    candidate, e = 0, 0
    for i in range(n_atoms):
        begin = candidate
        while candidate < len(first) and first[candidate] == i:
            candidate += 1
        for z in range(n_species):
            for c in range(begin, candidate):
                j = second[c]
                if species[j] != z:
                    continue
                x = positions[j, 0] - positions[i, 0] + offsets[0, c]
                y = positions[j, 1] - positions[i, 1] + offsets[1, c]
                w = positions[j, 2] - positions[i, 2] + offsets[2, c]
                length = sqrt(x * x + y * y + w * w)
                if length < tables.radials.cutoff:
                    neighbours[e], lengths[e] = j, length
                    vectors[0, e], vectors[1, e], vectors[2, e] = x, y, w
                    e += 1
            while (e - starts[i * n_species + z]) % PAD != 0:
                neighbours[e], lengths[e] = -1, tables.radials.cutoff
                vectors[0, e], vectors[1, e], vectors[2, e] = 0.0, 0.0, tables.radials.cutoff
                e += 1
            starts[i * n_species + z + 1] = e
    return Neighbourhood(starts, neighbours, vectors, lengths)


@jit
def _work(tables: Tables, edges: Neighbourhood) -> Work:
    width = PAD
    for run in range(len(edges.starts) - 1):
        width = max(width, edges.starts[run + 1] - edges.starts[run])
    return Work(
        np.empty((3, width)),
        np.empty((2, 2, width)),
        np.empty((2, tables.radials.many.shape[1], width)),
        np.empty((2, tables.radials.pair.shape[1], width)),
        np.empty((len(tables.angular.monomials), width)),
        np.empty((len(tables.angular.starts) - 1, width)),
        np.empty((6, width)),
    )


@jit
def _arguments(
    radials: Radials, edges: Neighbourhood, start: int, count: int, kind: int, work: Work
) -> None:
    """Directions, and the coordinates of both kinds of radial functions."""
    lengths = edges.lengths[start : start + count]
    for axis in range(3):
        target, row = work.unit[axis], edges.vectors[axis, start : start + count]
        for k in range(count):
            target[k] = row[k] / lengths[k]
    r0 = radials.r0[kind]
    for which in range(2):
        constants, sign = radials.coordinates[which, kind], 2.0 * which - 1.0
        q, a, scale = constants[0], constants[1], constants[2]
        y, slope = work.arguments[which, 0], work.arguments[which, 1]
        for k in range(count):
            s = lengths[k] / r0
            square = s * s
            ratio = a * square * (square if q == 4.0 else s) / (1.0 + square)
            x = 1.0 / (1.0 + ratio)
            falling = x * x * ratio / s * (q - 2.0 * square / (1.0 + square)) / r0
            slope[k] = -sign * scale * falling
            y[k] = sign * min(max(1.0 + (x - 1.0) * scale, -1.0), 1.0)


@jit
def _radials(
    radials: Radials,
    edges: Neighbourhood,
    start: int,
    count: int,
    kind: int,
    with_slopes: bool,
    work: Work,
) -> None:
    """Radials and half the pair functions: each family by its recursion, from its envelope on."""
    y, slope = work.arguments[0, 0], work.arguments[0, 1]
    value, derivative, factor = work.radials[0, 0], work.radials[1, 0], 1.0 / radials.many[1, 0]
    for k in range(count):
        inside = factor * (1.0 - y[k] * y[k])
        value[k] = inside * (1.0 - y[k] * y[k])
        derivative[k] = -4.0 * y[k] * inside * slope[k]
    _recursion(radials.many, work.arguments[0], work.radials, with_slopes, count)
    value, derivative, factor = work.pairs[0, 0], work.pairs[1, 0], 0.5 / radials.pair[1, 0]
    r0 = radials.r0[kind]
    lengths, outer = edges.lengths[start : start + count], r0 / radials.cutoff
    for k in range(count):
        s, inverse = lengths[k] / r0, r0 / lengths[k]
        value[k] = factor * (inverse**2 - outer**2 + 2.0 * outer**3 * (s - 1.0 / outer))
        derivative[k] = 2.0 * factor / r0 * (outer**3 - inverse**3)
    _recursion(radials.pair, work.arguments[1], work.pairs, with_slopes, count)


@jit
def _recursion(
    ab: np.ndarray, argument: np.ndarray, found: np.ndarray, with_slopes: bool, count: int
) -> None:
    """Polynomials times their envelope, which the first row holds, and the slopes of these."""
    y, slope = argument[0], argument[1]
    for n in range(1, ab.shape[1]):
        factor, shift, before = 1.0 / ab[1, n], ab[0, n - 1], ab[1, n - 1] / ab[1, n]
        target, last = found[0, n], found[0, n - 1]
        for k in range(count):
            target[k] = factor * (y[k] - shift) * last[k]
        if n > 1:
            _add(target, -before, found[0, n - 2], count)
        if with_slopes:
            target, value, last = found[1, n], found[0, n - 1], found[1, n - 1]
            for k in range(count):
                target[k] = factor * ((y[k] - shift) * last[k] + slope[k] * value[k])
            if n > 1:
                _add(target, -before, found[1, n - 2], count)


@jit
def _harmonics(angular: Angular, count: int, work: Work) -> None:
    work.monomials[0, :count] = 1.0
    for j in range(1, len(angular.monomials)):
        target, parent = work.monomials[j], work.monomials[angular.monomials[j, 0]]
        coordinate = work.unit[angular.monomials[j, 1]]
        for k in range(count):
            target[k] = parent[k] * coordinate[k]
    for lm in range(len(angular.starts) - 1):
        work.harmonics[lm, :count] = 0.0
        for c in range(angular.starts[lm], angular.starts[lm + 1]):
            monomial = work.monomials[angular.columns[c]]
            _add(work.harmonics[lm], angular.values[c], monomial, count)


@jit
def _add_one_particle(one: OneParticle, count: int, z: int, work: Work, a: np.ndarray) -> None:
    """Add what a run of neighbours of species z is to A ``(V,)``."""
    for degree in range(len(one.degrees)):
        width, place = 2 * degree + 1, one.degrees[degree, 2]
        n_radials, n_channels = one.degrees[degree, 0], one.degrees[degree, 1]
        for n in range(n_radials):
            for m in range(width):
                total = _dot(work.radials[0, n], work.harmonics[degree * degree + m], count)
                for channel in range(n_channels):
                    row = place + (channel * n_radials + n) * width + m
                    a[row] += one.weights[channel, z] * total


@jit
def _pull_back(
    one: OneParticle,
    angular: Angular,
    count: int,
    z: int,
    work: Work,
    by_a: np.ndarray,
    pair_weights: np.ndarray,
) -> None:
    """Sums of the cotangents' pullbacks: by direction (3 rows), and by length (row 3)."""
    sums = work.sums
    sums[:4, :count] = 0.0
    along, value, slope = sums[3], sums[4], sums[5]
    for n in range(len(pair_weights)):
        _add(along, pair_weights[n], work.pairs[1, n], count)
    for degree in range(len(one.degrees)):
        width, place = 2 * degree + 1, one.degrees[degree, 2]
        n_radials, n_channels = one.degrees[degree, 0], one.degrees[degree, 1]
        for m in range(width):
            value[:count] = 0.0
            slope[:count] = 0.0
            for n in range(n_radials):
                total = 0.0
                for channel in range(n_channels):
                    row = place + (channel * n_radials + n) * width + m
                    total += one.weights[channel, z] * by_a[row]
                _add(value, total, work.radials[0, n], count)
                _add(slope, total, work.radials[1, n], count)
            lm = degree * degree + m
            harmonic = work.harmonics[lm]
            for k in range(count):
                along[k] += slope[k] * harmonic[k]
            for axis in range(3):
                target, begin = sums[axis], angular.gradient_starts[3 * lm + axis]
                for c in range(begin, angular.gradient_starts[3 * lm + axis + 1]):
                    factor = angular.gradient_values[c]
                    monomial = work.monomials[angular.gradient_columns[c]]
                    for k in range(count):
                        target[k] += factor * value[k] * monomial[k]


@jit
def _scatter(
    edges: Neighbourhood,
    start: int,
    count: int,
    i: int,
    work: Work,
    positions: np.ndarray,
    strain: np.ndarray,
) -> None:
    """Add the gradient by the edges of a run to both atoms, and to the strain."""
    sums, unit = work.sums, work.unit
    for k in range(count):
        j = edges.second[start + k]
        if j < 0:
            break
        radial = sums[0, k] * unit[0, k] + sums[1, k] * unit[1, k] + sums[2, k] * unit[2, k]
        length = edges.lengths[start + k]
        for axis in range(3):
            total = (sums[axis, k] - radial * unit[axis, k]) / length + sums[3, k] * unit[axis, k]
            positions[i, axis] -= total
            positions[j, axis] += total
            for other in range(3):
                strain[axis, other] += total * edges.vectors[other, start + k]
