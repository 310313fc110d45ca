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
    tables: Tables, edges: Neighbourhood, species: np.ndarray, i: int, functions: Work
) -> tuple[np.ndarray, np.ndarray]:
    """How A and the pair features of an atom change where atoms move.

    Parameters
    ----------
    tables, edges, species
        As given to `edge_passes.one_particle`.
    i
        The atom.
    functions
        What `edge_passes.edge_functions` gave for it.

    Returns
    -------
    ``(V + ., 3 S + 6)``, derivatives by S atoms that are moved along x, then along y and z, and by
    strain (Voigt), filled up with zeros to a multiple of `PAD`; and ``(S,)`` which atoms these are,
    the atom itself first.
    """
    start, stop = edges.starts[i], edges.starts[i + 1]
    count, unit, n_degree = stop - start, functions.unit, tables.radials.pair.shape[1]
    targets, slots = _slots(edges.second[start:stop], i, len(species))
    stride, n_pairs = len(targets), len(tables.radials.r0) * n_degree
    found = np.zeros((tables.n_one_particle + n_pairs, (3 * stride + 6 + PAD - 1) // PAD * PAD))
    vectors, lengths = edges.vectors[:, start:stop], edges.lengths[start:stop]
    tangents, along = np.empty((3, count)), np.empty((3, count))
    change = np.empty((3, count))
    for degree in range(len(tables.one_particle.starts) - 1):
        first, last = tables.one_particle.starts[degree], tables.one_particle.starts[degree + 1]
        for m in range(2 * degree + 1):
            lm = degree * degree + m
            harmonic = functions.harmonics[lm]
            _tangents(tables.angular, lm, functions.monomials, unit, lengths, tangents)
            for axis in range(3):
                for e in range(count):
                    along[axis, e] = harmonic[e] * unit[axis, e]
            for run in range(first, last):
                share = functions.shares[tables.one_particle.runs[run, 1]]
                place = tables.one_particle.runs[run, 3] + m
                for radial in range(tables.one_particle.runs[run, 2]):
                    value, slope = functions.radials[0, radial], functions.radials[1, radial]
                    for axis in range(3):
                        target, g, h = change[axis], tangents[axis], along[axis]
                        for e in range(count):
                            target[e] = share[e] * (slope[e] * h[e] + value[e] * g[e])
                    row = found[place + radial * (2 * degree + 1)]
                    _place(change, slots, vectors, 0, count, stride, row)
    for z in range(len(tables.type_of)):
        first, last = edges.ends[i, z] - start, edges.ends[i, z + 1] - start
        place = tables.n_one_particle + tables.type_of[species[i], z] * n_degree
        for degree in range(n_degree):
            slope = functions.pairs[1, degree]
            for axis in range(3):
                for e in range(first, last):
                    change[axis, e] = slope[e] * unit[axis, e]
            _place(change, slots, vectors, first, last, stride, found[place + degree])
    return found, targets


@jit
def _slots(second: np.ndarray, i: int, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Atom i and its neighbours, each once, and which of them each edge leads to.

    Padding leads to atom i.
    """
    slot_of, slots = np.full(n_atoms, -1), np.empty(len(second), np.int64)
    targets = np.empty(min(len(second) + 1, n_atoms), np.int64)
    targets[0], slot_of[i], count = i, 0, 1
    for e in range(len(second)):
        j = second[e] if second[e] >= 0 else i
        if slot_of[j] < 0:
            slot_of[j], targets[count] = count, j
            count += 1
        slots[e] = slot_of[j]
    return targets[:count].copy(), slots


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
