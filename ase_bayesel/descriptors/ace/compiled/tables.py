"""The tables of a basis as plain arrays, in the form that the compiled passes walk through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..angular import harmonic_tables, monomial_parents
from ..basis import ManyBodyBasis
from ..edges import MANY_BODY_PQ, PAIR_PQ, EdgeBasis
from ..radial import AgnesiTransform, many_body_polynomials, pair_polynomials


class Radials(NamedTuple):
    """Radial functions of both kinds: the radials of A, and the T pair functions.

    Attributes
    ----------
    cutoff
        A.
    r0
        ``(pairs of elements,)``, A.
    coordinates
        ``(2, pairs of elements, 3)`` of each kind: q and a of its `AgnesiTransform`, and what it is
        scaled by.
    many, pair
        ``(2, n)`` and ``(2, T)`` the recursions' a and b (`OrthonormalPolynomials`).
    """

    cutoff: float
    r0: np.ndarray
    coordinates: np.ndarray
    many: np.ndarray
    pair: np.ndarray


class Angular(NamedTuple):
    """Harmonics and their gradients, three rows each, by monomials; compressed by rows.

    ``monomials (n, 2)``: which one is multiplied by which coordinate.
    """

    monomials: np.ndarray
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    gradient_starts: np.ndarray
    gradient_columns: np.ndarray
    gradient_values: np.ndarray


class OneParticle(NamedTuple):
    """The V one-particle functions.

    Attributes
    ----------
    degrees
        ``(lmax + 1, 3)`` of each l: radials, channels, and where its A begin.
    weights
        ``(R, NZ)`` of each species of neighbours in each channel.
    """

    degrees: np.ndarray
    weights: np.ndarray


class Products(NamedTuple):
    """The K many-body functions of a centre.

    ``pairs (P, 2)`` of A; each has ``thirds[starts[p] : starts[p + 1]]`` in triples. The functions
    by A, pairs and triples, in this order, are compressed by rows.
    """

    pairs: np.ndarray
    starts: np.ndarray
    thirds: np.ndarray
    coupling_starts: np.ndarray
    coupling_columns: np.ndarray
    coupling_values: np.ndarray


class Tables(NamedTuple):
    """A basis for NZ species; ``type_of (NZ, NZ)`` is the number of a pair of elements."""

    type_of: np.ndarray
    n_one_particle: int
    radials: Radials
    angular: Angular
    one_particle: OneParticle
    products: Products


class Neighbourhood(NamedTuple):
    """Edges of N atoms in runs, one for each atom and species of neighbours.

    Attributes
    ----------
    starts
        ``(N NZ + 1,)`` where each run begins.
    second
        ``(E,)`` the neighbour; -1 for padding, which lies at the cutoff.
    vectors, lengths
        ``(3, E)`` from atom to neighbour and ``(E,)``, A.
    """

    starts: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    lengths: np.ndarray


class Work(NamedTuple):
    """Functions of the edges of one run; the last axis is as long as the longest run.

    ``unit (3, .)``; ``arguments (2, 2, .)``, the coordinate of each kind and its slope;
    ``radials (2, n, .)`` and ``pairs (2, T, .)`` with their slopes; ``monomials``, ``harmonics``;
    ``sums (6, .)``.
    """

    unit: np.ndarray
    arguments: np.ndarray
    radials: np.ndarray
    pairs: np.ndarray
    monomials: np.ndarray
    harmonics: np.ndarray
    sums: np.ndarray


def tables_of(basis: ManyBodyBasis, edges: EdgeBasis) -> Tables:
    """The tables of a descriptor's bases."""
    nmax, n_channels = np.array(basis.nmax), np.array(basis.n_channels)
    widths = nmax * n_channels * (2 * np.arange(len(nmax)) + 1)
    many = many_body_polynomials(max(basis.nmax))
    pair = pair_polynomials(len(edges.pairs), -1.0, 1.0)
    coordinates = np.empty((2, len(edges.r0), 3))
    for which, (p, q) in enumerate((MANY_BODY_PQ, PAIR_PQ)):
        coordinates[which, :, 0] = q
        coordinates[which, :, 1] = AgnesiTransform(1.0, p, q).a
        coordinates[which, :, 2] = edges.scales[which]
    harmonics = harmonic_tables(edges.lmax)
    gradients = harmonics.gradients.reshape(-1, harmonics.gradients.shape[2])
    return Tables(
        edges.type_of,
        basis.n_one_particle,
        Radials(
            edges.cutoff,
            edges.r0,
            coordinates,
            np.stack([many.a, many.b]),
            np.stack([pair.a, pair.b]),
        ),
        Angular(
            monomial_parents(edges.lmax), *_compressed(harmonics.values), *_compressed(gradients)
        ),
        OneParticle(
            np.stack([nmax, n_channels, np.cumsum(widths) - widths], axis=1),
            np.ascontiguousarray(edges.weights),
        ),
        _products(basis),
    )


def _compressed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row starts, columns and values of what is not zero."""
    rows, columns = np.nonzero(matrix)
    return _starts(rows, len(matrix)), columns.copy(), matrix[rows, columns]


def _starts(sorted_rows: np.ndarray, n_rows: int) -> np.ndarray:
    return np.searchsorted(sorted_rows, np.arange(n_rows + 1))


def _products(basis: ManyBodyBasis) -> Products:
    """Pairs and triples, and the functions by them.

    A triple belongs to that pair of its factors which most triples have, so that few are needed.
    """
    used = np.abs(basis.value) > 1e-14 * np.abs(basis.value).max(initial=1.0)
    feature, value = basis.feature[used], basis.value[used]
    factors = np.sort(basis.factors[used], axis=1)[:, ::-1]  # absent ones last
    body = (factors >= 0).sum(axis=1)
    n_singles, doubles = basis.n_one_particle, factors[body == 2]
    triples, triple = np.unique(factors[body == 3], axis=0, return_inverse=True)

    def code(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one * n_singles + other

    sides = np.stack([code(*triples[:, [i, j]].T) for i, j in ((0, 1), (0, 2), (1, 2))])
    _, which, count = np.unique(sides, return_inverse=True, return_counts=True)
    best = count[which.reshape(sides.shape)].argmax(axis=0)
    rows = np.arange(len(triples))
    chosen, third = sides[best, rows], triples[rows, 2 - best]
    double = code(doubles[:, 0], doubles[:, 1])
    codes = np.unique(np.concatenate([double, chosen]))
    order = np.lexsort((third, chosen))
    place = np.empty(len(triples), int)
    place[order] = rows

    columns = np.empty(len(value), int)
    columns[body == 1] = factors[body == 1][:, 0]
    columns[body == 2] = n_singles + np.searchsorted(codes, double)
    columns[body == 3] = n_singles + len(codes) + place[triple.ravel()]
    entries = np.lexsort((columns, feature))
    return Products(
        np.ascontiguousarray(np.stack(np.divmod(codes, n_singles), axis=1)),
        np.searchsorted(chosen[order], np.append(codes, n_singles**2)),
        third[order],
        _starts(feature[entries], len(basis.functions)),
        columns[entries],
        value[entries],
    )
