"""Compiled derivatives of A and of the pair functions by the atoms that move, and by strain.

Those of an atom's functions by its edges are summed up by neighbour: several edges may lead to
images of the same one. As in `edge_passes`, no compiled function calls one of another file.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .tables import Angular, Neighbourhood, Tables, Work

PAD = 8


@jit
def movements(
    tables: Tables, edges: Neighbourhood, species: np.ndarray, begin: int, functions: Work
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How A and the pair features of n atoms change where atoms move.

    Parameters
    ----------
    tables, edges, species
        As given to `edge_passes.one_particle`.
    begin
        The first of these atoms.
    functions
        What `edge_passes.edge_functions` gave for them.

    Returns
    -------
    ``(n, V + ., 3 S + 6)``, derivatives by up to S atoms that are moved along x, then along y and
    z, and by strain (Voigt), filled up with zeros to a multiple of `PAD`; ``(n, S)`` which atoms
    these are, the atom itself first; and ``(n,)`` how many.
    """
    n, width = len(functions.unit), functions.unit.shape[2]
    n_species, n_degree = len(tables.type_of), tables.radials.pair.shape[1]
    n_rows = tables.n_one_particle + len(tables.radials.r0) * n_degree
    stride = min(width + 1, len(species))
    found = np.zeros((n, n_rows, (3 * stride + 6 + PAD - 1) // PAD * PAD))
    targets, counts = np.zeros((n, stride), np.int64), np.zeros(n, np.int64)
    slot_of, slots = np.full(len(species), -1), np.zeros(width, np.int64)
    tangents, along = np.empty((3, width)), np.empty((3, width))
    change = np.empty((3, width))
    for k in range(n):
        i = begin + k
        start, stop = edges.starts[i], edges.starts[i + 1]
        count, unit = stop - start, functions.unit[k]
        counts[k] = _slots(edges.second[start:stop], i, slot_of, slots, targets[k])
        vectors, lengths = edges.vectors[:, start:stop], edges.lengths[start:stop]
        for degree in range(len(tables.one_particle.starts) - 1):
            first, last = tables.one_particle.starts[degree], tables.one_particle.starts[degree + 1]
            for m in range(2 * degree + 1):
                lm = degree * degree + m
                harmonic = functions.harmonics[k, lm]
                _tangents(tables.angular, lm, functions.monomials[k], unit, lengths, tangents)
                for axis in range(3):
                    for e in range(count):
                        along[axis, e] = harmonic[e] * unit[axis, e]
                for run in range(first, last):
                    share = functions.shares[k, tables.one_particle.runs[run, 1]]
                    place = tables.one_particle.runs[run, 3] + m
                    for radial in range(tables.one_particle.runs[run, 2]):
                        value = functions.radials[k, 0, radial]
                        slope = functions.radials[k, 1, radial]
                        for axis in range(3):
                            target, g, h = change[axis], tangents[axis], along[axis]
                            for e in range(count):
                                target[e] = share[e] * (slope[e] * h[e] + value[e] * g[e])
                        row = found[k, place + radial * (2 * degree + 1)]
                        _place(change, slots, vectors, 0, count, stride, row)
        for z in range(n_species):
            first, last = edges.ends[i, z] - start, edges.ends[i, z + 1] - start
            place = tables.n_one_particle + tables.type_of[species[i], z] * n_degree
            for degree in range(n_degree):
                slope = functions.pairs[k, 1, degree]
                for axis in range(3):
                    for e in range(first, last):
                        change[axis, e] = slope[e] * unit[axis, e]
                _place(change, slots, vectors, first, last, stride, found[k, place + degree])
    return found, targets, counts


@jit
def _slots(
    second: np.ndarray, i: int, slot_of: np.ndarray, slots: np.ndarray, targets: np.ndarray
) -> int:
    """Number atom i and its neighbours by their first edges; how many atoms there are.

    ``slot_of`` is -1 for all atoms before and after. Padding belongs to atom i.
    """
    targets[0], slot_of[i], count = i, 0, 1
    for e in range(len(second)):
        j = second[e] if second[e] >= 0 else i
        if slot_of[j] < 0:
            slot_of[j], targets[count] = count, j
            count += 1
        slots[e] = slot_of[j]
    for t in range(count):
        slot_of[targets[t]] = -1
    return count


@jit
def _tangents(
    angular: Angular,
    lm: int,
    monomials: np.ndarray,
    unit: np.ndarray,
    lengths: np.ndarray,
    tangents: np.ndarray,
) -> None:
    """Gradient of a harmonic of the edges' directions by the edge vectors."""
    count = len(lengths)
    for axis in range(3):
        target = tangents[axis]
        target[:count] = 0.0
        row = 3 * lm + axis
        for c in range(angular.gradient_starts[row], angular.gradient_starts[row + 1]):
            factor, monomial = angular.gradient_values[c], monomials[angular.gradient_columns[c]]
            for e in range(count):
                target[e] += factor * monomial[e]
    for e in range(count):
        radial = 0.0
        for axis in range(3):
            radial += tangents[axis, e] * unit[axis, e]
        for axis in range(3):
            tangents[axis, e] = (tangents[axis, e] - radial * unit[axis, e]) / lengths[e]


@jit
def _place(
    change: np.ndarray,
    slots: np.ndarray,
    vectors: np.ndarray,
    begin: int,
    end: int,
    stride: int,
    target: np.ndarray,
) -> None:
    """Add derivatives by edges to those by atoms, and to those by strain."""
    for axis in range(3):
        row, place, total = change[axis], axis * stride, 0.0
        for e in range(begin, end):
            total += row[e]
        for e in range(begin, end):
            target[place + slots[e]] += row[e]
        target[place] -= total
    k = 3 * stride
    for axis in range(3):
        target[k + axis] += _dot(change[axis], vectors[axis], begin, end)
    for left, right in ((1, 2), (0, 2), (0, 1)):
        one = _dot(change[left], vectors[right], begin, end)
        other = _dot(change[right], vectors[left], begin, end)
        target[k + 6 - left - right] += 0.5 * (one + other)


@jit
def _dot(left: np.ndarray, right: np.ndarray, begin: int, end: int) -> float:
    total = 0.0
    for e in range(begin, end):
        total += left[e] * right[e]
    return total
