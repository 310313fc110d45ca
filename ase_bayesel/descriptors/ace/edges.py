"""Edge functions of the linear ACE basis and their contraction to one-particle functions.

A_(z,n,l,m) of an atom is the sum over its neighbours of species z of
J_n(r) Y_lm; the pair functions are sums of env(r) P_n(x(r)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .angular import harmonic_tables, monomials
from .neighbours import Neighbours
from .radial import (
    AgnesiTransform,
    chebyshev,
    length_scales,
    many_body_polynomials,
    pair_envelope,
    pair_polynomials,
    transform_with_derivative,
    with_envelope,
)

MANY_BODY_PQ = (2, 4)
PAIR_PQ = (1, 3)


@dataclass(frozen=True)
class Edges:
    """Functions of every padded edge of N atoms with K neighbours each; E = N K.

    Attributes
    ----------
    lengths
        ``(N, K)`` distances, A.
    vectors, unit
        ``(3, N, K)`` edge vectors, A, and their directions.
    radials
        ``(2, R n, N, K)`` radial functions and their slopes, in each of R channels times the
        weight of the neighbour's species.
    monomials, angular
        ``(k, E)`` of the directions, and the harmonics ``(lm, N, K)`` that are made of them.
    chebyshev, envelopes
        ``(T, E)`` polynomials behind the pair functions; ``(3, N, K)``: the envelope, its slope,
        and the envelope times the slope of the polynomials' argument.
    pair_type
        ``(N, K)`` the pair of elements; None for a single element.
    """

    lengths: np.ndarray
    vectors: np.ndarray
    unit: np.ndarray
    radials: np.ndarray
    monomials: np.ndarray
    angular: np.ndarray
    chebyshev: np.ndarray
    envelopes: np.ndarray
    pair_type: np.ndarray | None


class EdgeBasis:
    """Radial, angular and pair functions for a set of elements.

    Parameters
    ----------
    elements
        Chemical symbols; species are numbered in their order.
    totaldegree
        Number T of pair functions of each pair of elements.
    cutoff
        Cutoff radius, A.
    nmax, n_channels
        Number of radial functions, and of channels, for each degree l = 0 .. lmax.
    weights
        ``(R, NZ)`` of each species in each of all channels.
    r0
        Length scale of pairs of elements, A; `radial.bond_length` where a pair is missing.
    """

    def __init__(
        self,
        elements: tuple[str, ...],
        totaldegree: int,
        cutoff: float,
        nmax: tuple[int, ...],
        n_channels: tuple[int, ...],
        weights: np.ndarray,
        r0: Mapping[tuple[str, ...], float],
    ) -> None:
        self.nmax, self.n_channels, self.lmax = nmax, n_channels, len(nmax) - 1
        self.weights = weights
        self.cutoff = cutoff
        scales = length_scales(elements, r0)
        self.n_pair_types, lengths = len(scales), list(scales.values())
        self.type_of = np.zeros((len(elements), len(elements)), int)
        for number, (a, b) in enumerate(scales):
            self.type_of[a, b] = self.type_of[b, a] = number
        self.r0 = np.array(lengths)
        lows = [[AgnesiTransform(length, *pq)(cutoff) for length in lengths] for pq in _BOTH_PQ]
        self.scales = 2.0 / (1.0 - np.array(lows))
        many = many_body_polynomials(max(nmax))
        self._many = with_envelope(many.chebyshev_matrix(-1.0, 1.0))
        # the measure is uniform, so on [-1, 1] the pair polynomials of all pairs are the same
        pair = pair_polynomials(totaldegree, -1.0, 1.0).chebyshev_matrix(-1.0, 1.0)
        self.pairs, self.pair_slopes = pair[:totaldegree], pair[totaldegree:]
        self._n_chebyshev = max(self._many.shape[1], totaldegree)
        tables = harmonic_tables(self.lmax)
        self._harmonics, self.gradients = tables.values, tables.gradients
        self._to_gradient = tables.gradients.transpose(1, 2, 0).reshape(-1, len(tables.values))
        self._place = _places(nmax, n_channels, len(tables.values))

    @property
    def n_one_particle(self) -> int:
        """Number V of one-particle functions."""
        return len(self._place)

    def evaluate(self, neighbours: Neighbours, all_species: np.ndarray) -> Edges:
        """All edge functions; ``all_species`` holds the species that ``index`` points into."""
        shape = neighbours.index.shape
        lengths = neighbours.lengths.reshape(-1)
        unit = neighbours.vectors / neighbours.lengths
        pair_type, kind = None, 0
        if self.n_pair_types > 1:
            neighbour_species = all_species[neighbours.index]
            pair_type = self.type_of[neighbours.species[:, None], neighbour_species]
            kind = pair_type.reshape(-1)
        r0 = self.r0[kind]

        y, slopes = np.empty((2, len(lengths))), []
        for k, pq in enumerate(_BOTH_PQ):
            x, slope = transform_with_derivative(lengths, r0, *pq)
            scale = self.scales[k][kind]
            np.multiply(x - 1.0, scale, out=y[k])
            slopes.append(slope * scale)
        # falls from 1 at r = 0 in `_BOTH_PQ`; the many-body radials take it the other way round
        y += 1.0
        np.minimum(np.maximum(y, -1.0, out=y), 1.0, out=y)
        np.negative(y[0], out=y[0])
        polynomials = chebyshev(y.reshape(-1), self._n_chebyshev)
        half = len(lengths)

        n_many = self._many.shape[1]
        radials = np.matmul(self._many, polynomials[:n_many, :half])
        radials = radials.reshape(2, -1, half)
        inside = 1.0 - y[0] * y[0]
        radials *= np.stack([inside * inside, -inside * slopes[0]])[:, None]
        radials = radials.reshape(2, -1, *shape)
        if pair_type is not None:
            shares = self.weights[:, neighbour_species]
            radials = (radials[:, None] * shares[:, None]).reshape(2, -1, *shape)

        envelope, d_envelope = pair_envelope(lengths, r0, self.cutoff)
        powers = monomials(unit.reshape(3, -1), self.lmax)
        return Edges(
            lengths=neighbours.lengths,
            vectors=neighbours.vectors,
            unit=unit,
            radials=radials,
            monomials=powers,
            angular=np.matmul(self._harmonics, powers).reshape(-1, *shape),
            chebyshev=polynomials[: len(self.pairs), half:],
            envelopes=np.stack([envelope, d_envelope, envelope * slopes[1]]).reshape(3, *shape),
            pair_type=pair_type,
        )

    def one_particle(self, edges: Edges) -> np.ndarray:
        """A of every atom, ``(V, N)``."""
        radials = edges.radials[0].transpose(1, 0, 2)
        full = np.matmul(radials, edges.angular.transpose(1, 2, 0))
        return full.reshape(len(full), -1).take(self._place, axis=1).T

    def one_particle_pullback(self, edges: Edges, cotangent: np.ndarray) -> np.ndarray:
        """Gradient of ``cotangent (V, N) . A`` with respect to the edge vectors, ``(3, N, K)``."""
        n_atoms, width = edges.lengths.shape
        n_radial, n_angular = edges.radials.shape[1], len(edges.angular)
        full = np.zeros((n_atoms, n_radial * n_angular))
        full[:, self._place] = cotangent.T
        full = full.reshape(n_atoms, n_radial, n_angular).transpose(0, 2, 1)
        by_angular = np.empty((2, n_angular, n_atoms, width))
        radials = edges.radials.transpose(0, 2, 1, 3)
        np.matmul(full, radials, out=by_angular.transpose(0, 2, 1, 3))
        along = np.einsum("mnk,mnk->nk", by_angular[1], edges.angular)
        slopes = np.matmul(self._to_gradient, by_angular[0].reshape(n_angular, -1))
        slopes = slopes.reshape(3, -1, n_atoms * width)
        lower = edges.monomials[: slopes.shape[1]]
        across = np.einsum("cme,me->ce", slopes, lower).reshape(3, n_atoms, width)
        across /= edges.lengths
        along -= (edges.unit * across).sum(axis=0)
        across += along * edges.unit
        return across

    def pair_values(self, edges: Edges) -> np.ndarray:
        """Half sums over neighbours of the pair functions, ``(N, pair features)``."""
        parts = [
            (edges.chebyshev.reshape(-1, *share.shape) * share).sum(axis=2)
            for share in self._shares(edges)
        ]
        return np.concatenate([0.5 * self.pairs @ part for part in parts]).T

    def pair_totals(self, edges: Edges, weights: np.ndarray | None = None) -> np.ndarray:
        """The sum of `pair_values` over the atoms, or with ``weights (G, N)`` G sums ``(G, .)``."""
        sums = []
        for share in self._shares(edges):
            if weights is None:
                columns = share.reshape(-1, 1)
            else:
                columns = (weights[:, :, None] * share).reshape(len(weights), -1).T
            sums.append(0.5 * self.pairs @ np.matmul(edges.chebyshev, columns))
        totals = np.concatenate(sums).T
        return totals[0] if weights is None else totals

    def _shares(self, edges: Edges) -> list[np.ndarray]:
        """The envelope ``(N, K)``, for each pair of elements where it counts."""
        envelope = edges.envelopes[0]
        if edges.pair_type is None:
            return [envelope]
        return [envelope * (edges.pair_type == number) for number in range(self.n_pair_types)]

    def pair_pullback(self, edges: Edges, cotangent: np.ndarray) -> np.ndarray:
        """Slopes ``(N, K)`` of ``cotangent . pair_totals`` by the lengths of the edges."""
        weights = 0.5 * cotangent.reshape(self.n_pair_types, -1)
        values = np.matmul(weights @ self.pairs, edges.chebyshev)
        slopes = np.matmul(weights @ self.pair_slopes, edges.chebyshev)
        if edges.pair_type is None:
            values, slopes = values[0], slopes[0]
        else:
            places = (edges.pair_type.reshape(-1), np.arange(values.shape[1]))
            values, slopes = values[places], slopes[places]
        _, d_envelope, inner = edges.envelopes
        return values.reshape(inner.shape) * d_envelope + slopes.reshape(inner.shape) * inner


_BOTH_PQ = (MANY_BODY_PQ, PAIR_PQ)


def _places(nmax: tuple[int, ...], n_channels: tuple[int, ...], n_angular: int) -> np.ndarray:
    """Where each one-particle function lies among all products of radials and harmonics."""
    return np.array(
        [
            (z * max(nmax) + n) * n_angular + degree**2 + m
            for degree, n_radial in enumerate(nmax)
            for z in range(n_channels[degree])
            for n in range(n_radial)
            for m in range(2 * degree + 1)
        ]
    )
