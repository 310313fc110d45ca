"""Compiled passes over the edges of a structure: to one-particle functions, and back.

Edges of an atom lie side by side, those of a species of neighbours in a run that is padded to a
multiple of `PAD`, so that all inner loops are over the edges of a run and become vector
instructions. Radials and harmonics of a run are made where they are used, in memory that stays
in the cache, and made again on the way back.

What is kept on disk is made anew only where its own file has changed: no compiled function calls
one of another file.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .jit import jit
from .tables import Angular, Neighbourhood, OneParticle, Radials, Tables, Work

PAD = 16


@jit
def one_particle(
    tables: Tables,
    positions: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    species: np.ndarray,
) -> tuple[Neighbourhood, np.ndarray, np.ndarray]:
    """One-particle functions of all atoms, and half the sums of their pair functions.

    Parameters
    ----------
    tables, species
        The basis, and ``(N,)`` of each atom.
    positions
        ``(N, 3)``, A.
    first, second, offsets
        Pairs that may be within the cutoff (`structures.neighbours.Candidates`).

    Returns
    -------
    The edges, A ``(N, V)``, and the pair features ``(N, .)``.
    """
    edges = _edges(tables, positions, first, second, offsets, species)
    work = _work(tables, edges)
    n_species, n_degree = tables.type_of.shape[0], tables.radials.pair.shape[1]
    a = np.zeros((len(species), tables.n_one_particle))
    pairs = np.zeros((len(species), len(tables.radials.r0) * n_degree))
    for i in range(len(species)):
        for z in range(n_species):
            kind, start = tables.type_of[species[i], z], edges.starts[i * n_species + z]
            count = edges.starts[i * n_species + z + 1] - start
            if count == 0:
                continue
            _arguments(tables.radials, edges, start, count, kind, work)
            _radials(tables.radials, edges.lengths[start : start + count], kind, False, work)
            _harmonics(tables.angular, count, work)
            _add_one_particle(tables.one_particle, count, z, work, a[i])
            for n in range(n_degree):
                row, total = work.pairs[0, n], 0.0
                for k in range(count):
                    total += row[k]
                pairs[i, kind * n_degree + n] += total
    return edges, a, pairs


@jit
def edge_gradient(
    tables: Tables,
    edges: Neighbourhood,
    species: np.ndarray,
    by_a: np.ndarray,
    by_pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient by positions ``(N, 3)`` and by strain ``(3, 3)`` of what `one_particle` gives.

    Parameters
    ----------
    tables, edges, species
        As given to `one_particle`, or returned.
    by_a, by_pairs
        ``(N, V)`` and ``(N, .)``, cotangents of the rest.
    """
    work = _work(tables, edges)
    n_species, n_degree = tables.type_of.shape[0], tables.radials.pair.shape[1]
    positions, strain = np.zeros((len(species), 3)), np.zeros((3, 3))
    for i in range(len(species)):
        for z in range(n_species):
            kind, start = tables.type_of[species[i], z], edges.starts[i * n_species + z]
            count = edges.starts[i * n_species + z + 1] - start
            if count == 0:
                continue
            pair_weights = by_pairs[i, kind * n_degree : (kind + 1) * n_degree]
            _arguments(tables.radials, edges, start, count, kind, work)
            _radials(tables.radials, edges.lengths[start : start + count], kind, True, work)
            _harmonics(tables.angular, count, work)
            _pull_back(tables.one_particle, tables.angular, count, z, work, by_a[i], pair_weights)
            _scatter(edges, start, count, i, work, positions, strain)
    return positions, strain


@jit
def _combine(
    weights: np.ndarray, rows: np.ndarray, n_rows: int, target: np.ndarray, count: int
) -> None:
    """The weighted sum of rows, four at a time; weights beyond are zero."""
    target[:count] = 0.0
    for n in range(0, n_rows, 4):
        one, two, three, four = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
        first, second, third, fourth = rows[n], rows[n + 1], rows[n + 2], rows[n + 3]
        for k in range(count):
            target[k] += one * first[k] + two * second[k] + three * third[k] + four * fourth[k]


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
        np.zeros((2, (tables.radials.many.shape[1] + 3) // 4 * 4, width)),
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
    radials: Radials, lengths: np.ndarray, kind: int, with_slopes: bool, work: Work
) -> None:
    """Radials and half the pair functions: each family by its recursion, from its envelope on."""
    count, y, slope = len(lengths), work.arguments[0, 0], work.arguments[0, 1]
    value, derivative, factor = work.radials[0, 0], work.radials[1, 0], 1.0 / radials.many[1, 0]
    for k in range(count):
        inside = factor * (1.0 - y[k] * y[k])
        value[k] = inside * (1.0 - y[k] * y[k])
        derivative[k] = -4.0 * y[k] * inside * slope[k]
    _recursion(radials.many, work.arguments[0], work.radials, with_slopes, count)
    value, derivative, factor = work.pairs[0, 0], work.pairs[1, 0], 0.5 / radials.pair[1, 0]
    r0, outer = radials.r0[kind], radials.r0[kind] / radials.cutoff
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
        factor, shift = 1.0 / ab[1, n], ab[0, n - 1]
        before = ab[1, n - 1] * factor if n > 1 else 0.0
        target, last, previous = found[0, n], found[0, n - 1], found[0, max(n - 2, 0)]
        for k in range(count):
            target[k] = factor * (y[k] - shift) * last[k] - before * previous[k]
        if not with_slopes:
            continue
        values, target, last, previous = last, found[1, n], found[1, n - 1], found[1, max(n - 2, 0)]
        for k in range(count):
            grown = (y[k] - shift) * last[k] + slope[k] * values[k]
            target[k] = factor * grown - before * previous[k]


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
            harmonic, factor = work.harmonics[lm], angular.values[c]
            for k in range(count):
                harmonic[k] += factor * monomial[k]


@jit
def _add_one_particle(basis: OneParticle, count: int, z: int, work: Work, a: np.ndarray) -> None:
    """Add what a run of neighbours of species z is to A ``(V,)``; four radials at a time."""
    totals = np.empty(4)
    for degree in range(len(basis.degrees)):
        width, place = 2 * degree + 1, basis.degrees[degree, 2]
        n_radials, n_channels = basis.degrees[degree, 0], basis.degrees[degree, 1]
        for n in range(0, n_radials, 4):
            first, second = work.radials[0, n], work.radials[0, n + 1]
            third, fourth = work.radials[0, n + 2], work.radials[0, n + 3]
            for m in range(width):
                harmonic = work.harmonics[degree * degree + m]
                one, two, three, four = 0.0, 0.0, 0.0, 0.0
                for k in range(count):
                    one += first[k] * harmonic[k]
                    two += second[k] * harmonic[k]
                    three += third[k] * harmonic[k]
                    four += fourth[k] * harmonic[k]
                totals[0], totals[1], totals[2], totals[3] = one, two, three, four
                for channel in range(n_channels):
                    for nn in range(n, min(n + 4, n_radials)):
                        row = place + (channel * n_radials + nn) * width + m
                        a[row] += basis.weights[channel, z] * totals[nn - n]


@jit
def _pull_back(
    basis: OneParticle,
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
        row, factor = work.pairs[1, n], pair_weights[n]
        for k in range(count):
            along[k] += factor * row[k]
    totals = np.zeros(work.radials.shape[1])
    for degree in range(len(basis.degrees)):
        width, place = 2 * degree + 1, basis.degrees[degree, 2]
        n_radials, n_channels = basis.degrees[degree, 0], basis.degrees[degree, 1]
        for m in range(width):
            totals[:] = 0.0
            for channel in range(n_channels):
                for n in range(n_radials):
                    row = place + (channel * n_radials + n) * width + m
                    totals[n] += basis.weights[channel, z] * by_a[row]
            _combine(totals, work.radials[0], n_radials, value, count)
            _combine(totals, work.radials[1], n_radials, slope, count)
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
