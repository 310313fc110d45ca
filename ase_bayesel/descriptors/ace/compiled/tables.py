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
    runs
        ``(Q, 5)`` of those of each l and channel: l, the channel, as many radials as functions
        have a use for, where its A begin, and whether all weights are one. A of further radials
        stay zero.
    starts
        ``(lmax + 2,)`` where the runs of each l begin.
    weights
        ``(R, NZ)`` of each species of neighbours in each channel.
    """

    runs: np.ndarray
    starts: np.ndarray
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
    """Edges of N atoms, of each atom those to neighbours of the first species first.

    Attributes
    ----------
    starts
        ``(N + 1,)`` where the edges of each atom begin.
    ends
        ``(N, NZ + 1)`` where those of each species begin; the last ones end with the padding.
    second
        ``(E,)`` the neighbour; -1 for padding, which lies at the cutoff.
    vectors, lengths
        ``(3, E)`` from atom to neighbour and ``(E,)``, A.
    """

    starts: np.ndarray
    ends: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    lengths: np.ndarray


class Work(NamedTuple):
    """Functions of the edges of one atom; the last axis is as long as the most edges of an atom.

    ``unit (3, .)``; ``scales (3, .)``, r0, its inverse and its share of
    the cutoff; ``shares (R, .)`` in each channel; ``arguments (2, 3, .)``, the
    coordinate of each kind, its slope and what it is scaled by;
    ``radials (2, n, .)`` and ``pairs (2, T, .)`` with their slopes; ``monomials``, ``harmonics``;
    ``sums (8, .)``.
    """

    unit: np.ndarray
    scales: np.ndarray
    shares: np.ndarray
    arguments: np.ndarray
    radials: np.ndarray
    pairs: np.ndarray
    monomials: np.ndarray
    harmonics: np.ndarray
    sums: np.ndarray


def tables_of(basis: ManyBodyBasis, edges: EdgeBasis) -> Tables:
    """The tables of a descriptor's bases."""
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
        OneParticle(*_runs(basis, edges.weights), np.ascontiguousarray(edges.weights)),
        _products(basis),
    )


def _runs(basis: ManyBodyBasis, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``runs`` and ``starts`` of `OneParticle`."""
    used, runs, place = np.unique(basis.factors), [], 0
    for degree, (n_radials, n_channels) in enumerate(
        zip(basis.nmax, basis.n_channels, strict=True)
    ):
        width = 2 * degree + 1
        for channel in range(n_channels):
            inside = used[(used >= place) & (used < place + n_radials * width)]
            if len(inside):
                plain = (weights[channel] == 1.0).all()
                runs.append((degree, channel, (inside[-1] - place) // width + 1, place, plain))
            place += n_radials * width
    found = np.array(runs, int)
    return found, np.searchsorted(found[:, 0], np.arange(len(basis.nmax) + 1))


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
