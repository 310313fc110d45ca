"""Compiled passes over the edges of a structure: to one-particle functions, and back.

Inner loops are over all edges of an atom (`edges`), of whatever species: what the species of a
neighbour changes are numbers of its edge. Radials and harmonics of an atom's edges are made where
they are used, in memory that stays in the cache, and made again on the way back.
No compiled function calls one of another file: what is kept on disk is made anew only where its own
file has changed.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .tables import Angular, Neighbourhood, OneParticle, Radials, Tables, Work


@jit
def one_particle(
    tables: Tables, edges: Neighbourhood, species: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One-particle functions of all atoms, and half the sums of their pair functions.

    Parameters
    ----------
    tables, edges
        The basis, and the edges.
    species
        ``(N,)`` of each atom.

    Returns
    -------
    A ``(N, V)``, and the pair features ``(N, .)``.
    """
    work = _work(tables, edges)
    n_species, n_degree = tables.type_of.shape[0], tables.radials.pair.shape[1]
    a = np.zeros((len(species), tables.n_one_particle))
    pairs = np.zeros((len(species), len(tables.radials.r0) * n_degree))
    for i in range(len(species)):
        start, count = _functions(tables, edges, i, species[i], False, work)
        _add_one_particle(tables.one_particle, count, work, a[i])
        for z in range(n_species):
            begin, end = edges.ends[i, z] - start, edges.ends[i, z + 1] - start
            place = tables.type_of[species[i], z] * n_degree
            for n in range(n_degree):
                row, total = work.pairs[0, n], 0.0
                for k in range(begin, end):
                    total += row[k]
                pairs[i, place + n] += total
    return a, pairs


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
        As given to `one_particle`.
    by_a, by_pairs
        ``(N, V)`` and ``(N, .)``, cotangents of the rest.
    """
    work = _work(tables, edges)
    n_species, n_degree = tables.type_of.shape[0], tables.radials.pair.shape[1]
    positions, strain = np.zeros((len(species), 3)), np.zeros((3, 3))
    for i in range(len(species)):
        start, count = _functions(tables, edges, i, species[i], True, work)
        work.sums[:4, :count] = 0.0
        along = work.sums[3]
        for z in range(n_species):
            begin, end = edges.ends[i, z] - start, edges.ends[i, z + 1] - start
            place = tables.type_of[species[i], z] * n_degree
            for n in range(n_degree):
                row, factor = work.pairs[1, n], by_pairs[i, place + n]
                for k in range(begin, end):
                    along[k] += factor * row[k]
        _pull_back(tables.one_particle, tables.angular, count, work, by_a[i])
        _scatter(edges, start, count, i, work, positions, strain)
    return positions, strain


@jit
def edge_functions(tables: Tables, edges: Neighbourhood, species: np.ndarray, i: int) -> Work:
    """All functions of the edges of an atom, with slopes.

    Parameters
    ----------
    tables, edges, species
        As given to `one_particle`.
    i
        The atom.
    """
    work = _work(tables, edges)
    _functions(tables, edges, i, species[i], True, work)
    return work


@jit
def _functions(
    tables: Tables, edges: Neighbourhood, i: int, centre: int, with_slopes: bool, work: Work
) -> tuple[int, int]:
    """All functions of the edges of atom i; where these begin, and how many there are."""
    start = edges.starts[i]
    count = edges.starts[i + 1] - start
    for z in range(len(tables.type_of)):
        begin, end = edges.ends[i, z] - start, edges.ends[i, z + 1] - start
        kind = tables.type_of[centre, z]
        work.arguments[0, 2, begin:end] = tables.radials.coordinates[0, kind, 2]
        work.arguments[1, 2, begin:end] = tables.radials.coordinates[1, kind, 2]
        r0 = tables.radials.r0[kind]
        work.scales[0, begin:end] = r0
        work.scales[1, begin:end] = 1.0 / r0
        work.scales[2, begin:end] = r0 / tables.radials.cutoff
        for channel in range(len(work.shares)):
            work.shares[channel, begin:end] = tables.one_particle.weights[channel, z]
    _arguments(tables.radials, edges, start, count, work)
    _radials(tables.radials, edges.lengths[start : start + count], with_slopes, work)
    _harmonics(tables.angular, count, work)
    return start, count


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
def _work(tables: Tables, edges: Neighbourhood) -> Work:
    width = max(1, np.diff(edges.starts).max())
    return Work(
        np.empty((3, width)),
        np.empty((3, width)),
        np.empty((len(tables.one_particle.weights), width)),
        np.empty((2, 3, width)),
        np.zeros((2, (tables.radials.many.shape[1] + 3) // 4 * 4, width)),
        np.empty((2, tables.radials.pair.shape[1], width)),
        np.empty((len(tables.angular.monomials), width)),
        np.empty((len(tables.angular.starts) - 1, width)),
        np.zeros((8, width)),
    )


@jit
def _arguments(radials: Radials, edges: Neighbourhood, start: int, count: int, work: Work) -> None:
    """Directions, and the coordinates of both kinds of radial functions."""
    lengths, inverse = edges.lengths[start : start + count], work.scales[1]
    for axis in range(3):
        target, row = work.unit[axis], edges.vectors[axis, start : start + count]
        for k in range(count):
            target[k] = row[k] / lengths[k]
    for which in range(2):
        q, a = radials.coordinates[which, 0, 0], radials.coordinates[which, 0, 1]
        y, slope = work.arguments[which, 0], work.arguments[which, 1]
        scale = work.arguments[which, 2]
        sign = 2.0 * which - 1.0
        for k in range(count):
            s = lengths[k] * inverse[k]
            square = s * s
            ratio = a * square * (square if q == 4.0 else s) / (1.0 + square)
            x = 1.0 / (1.0 + ratio)
            falling = x * x * ratio / s * (q - 2.0 * square / (1.0 + square)) * inverse[k]
            slope[k] = -sign * scale[k] * falling
            y[k] = sign * min(max(1.0 + (x - 1.0) * scale[k], -1.0), 1.0)


@jit
def _radials(radials: Radials, lengths: np.ndarray, with_slopes: bool, work: Work) -> None:
    """Radials and half the pair functions: each family by its recursion, from its envelope on."""
    count, y, slope = len(lengths), work.arguments[0, 0], work.arguments[0, 1]
    value, derivative, factor = work.radials[0, 0], work.radials[1, 0], 1.0 / radials.many[1, 0]
    for k in range(count):
        inside = factor * (1.0 - y[k] * y[k]) if lengths[k] < radials.cutoff else 0.0
        value[k] = inside * (1.0 - y[k] * y[k])
        derivative[k] = -4.0 * y[k] * inside * slope[k]
    _recursion(radials.many, work.arguments[0], work.radials, with_slopes, count)
    value, derivative, half = work.pairs[0, 0], work.pairs[1, 0], 0.5 / radials.pair[1, 0]
    for k in range(count):
        factor = half if lengths[k] < radials.cutoff else 0.0
        unit, outer = work.scales[1, k], work.scales[2, k]
        s, inverse = lengths[k] * unit, work.scales[0, k] / lengths[k]
        value[k] = factor * (inverse**2 - outer**2 + 2.0 * outer**3 * (s - 1.0 / outer))
        derivative[k] = 2.0 * factor * unit * (outer**3 - inverse**3)
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
def _add_one_particle(basis: OneParticle, count: int, work: Work, a: np.ndarray) -> None:
    """Add what an atom's edges are to its A ``(V,)``; four radials at a time."""
    for run in range(len(basis.runs)):
        degree, channel = basis.runs[run, 0], basis.runs[run, 1]
        n_radials, place = basis.runs[run, 2], basis.runs[run, 3]
        width, share = 2 * degree + 1, work.shares[channel]
        for m in range(width):
            weighted = work.harmonics[degree * degree + m]
            if not basis.runs[run, 4]:
                harmonic, weighted = weighted, work.sums[0]
                for k in range(count):
                    weighted[k] = share[k] * harmonic[k]
            for n in range(0, n_radials, 4):
                first, second = work.radials[0, n], work.radials[0, n + 1]
                third, fourth = work.radials[0, n + 2], work.radials[0, n + 3]
                one, two, three, four = 0.0, 0.0, 0.0, 0.0
                for k in range(count):
                    one += first[k] * weighted[k]
                    two += second[k] * weighted[k]
                    three += third[k] * weighted[k]
                    four += fourth[k] * weighted[k]
                totals = (one, two, three, four)
                for nn in range(n, min(n + 4, n_radials)):
                    a[place + nn * width + m] = totals[nn - n]


@jit
def _pull_back(
    basis: OneParticle, angular: Angular, count: int, work: Work, by_a: np.ndarray
) -> None:
    """Add the cotangents' pullbacks: by direction (3 rows of sums), and by length (row 3)."""
    sums = work.sums
    along, value, slope = sums[3], sums[4], sums[5]
    totals = np.zeros(work.radials.shape[1])
    for degree in range(len(basis.starts) - 1):
        width = 2 * degree + 1
        for m in range(width):
            for run in range(basis.starts[degree], basis.starts[degree + 1]):
                n_radials, place = basis.runs[run, 2], basis.runs[run, 3] + m
                totals[:] = 0.0
                for n in range(n_radials):
                    totals[n] = by_a[place + n * width]
                first = run == basis.starts[degree]
                own_value, own_slope = (value, slope) if first else (sums[6], sums[7])
                if degree > 0:
                    _combine(totals, work.radials[0], n_radials, own_value, count)
                _combine(totals, work.radials[1], n_radials, own_slope, count)
                share = work.shares[basis.runs[run, 1]]
                if not first:
                    for k in range(count):
                        value[k] += share[k] * own_value[k]
                    for k in range(count):
                        slope[k] += share[k] * own_slope[k]
                elif not basis.runs[run, 4]:
                    for k in range(count):
                        value[k] *= share[k]
                    for k in range(count):
                        slope[k] *= share[k]
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
    """Add the gradient by the edges of atom i to both atoms, and to the strain."""
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
