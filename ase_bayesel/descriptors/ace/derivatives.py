"""Jacobians of the linear ACE features: every feature by every position and by strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ..base import VOIGT
from .edges import EdgeBasis, Edges
from .neighbours import Neighbours
from .polynomial import SitePolynomial


@dataclass(frozen=True)
class Derivatives:
    """Sums that grow by the sites of a chunk of atoms at a time.

    ``jacobian (n_atoms, 3, D)`` by position and ``strain (M, 6, D)`` of each of M structures.
    """

    jacobian: np.ndarray
    strain: np.ndarray

    @classmethod
    def zeros(cls, n_atoms: int, n_frames: int, n_features: int) -> Derivatives:
        """Nothing added yet."""
        shapes = (n_atoms, 3, n_features), (n_frames, 6, n_features)
        return cls(np.zeros(shapes[0]), np.zeros(shapes[1]))

    def add(
        self,
        basis: EdgeBasis,
        polynomial: SitePolynomial,
        edges: Edges,
        products: np.ndarray,
        ours: Neighbours,
        rows: np.ndarray,
        start: int,
    ) -> None:
        """Add what these atoms' sites contribute to every atom's Jacobian and to the strain.

        Where the structure has not many more atoms than each has neighbours, derivatives by
        neighbours are summed up for each atom first (many are images of the same), so that few
        large products are left.

        Parameters
        ----------
        basis, polynomial, edges, products
            The functions, and what they gave for these atoms.
        ours, rows
            Their neighbours, and which of all atoms they are.
        start
            Where the many-body features of their species begin.
        """
        n_edges = edges.lengths.shape[1] + 1
        if len(self.strain) == 1 and 2 * (len(self.jacobian) + 3) <= 3 * n_edges:
            summed = _by_atom(ours, rows, edges, len(self.jacobian))
            target: _Summed | _Scattered = _Summed(self, summed)
        else:
            target = _Scattered(self, ours, rows, edges)
        n_pair = edges.chebyshev.shape[0]
        blocks = polynomial.jacobian(products)
        target.add_many_body(basis, edges, blocks, start)
        slopes = _pair_slopes(basis, edges)
        for number in range(basis.n_pair_types):
            chosen = slopes
            if edges.pair_type is not None:
                mask = edges.pair_type == number
                if not mask.any():
                    continue
                chosen = slopes * mask
            target.add_pairs(slice(number * n_pair, (number + 1) * n_pair), chosen)


def _pair_slopes(basis: EdgeBasis, edges: Edges) -> np.ndarray:
    """Half the slopes of the pair functions along each edge, ``(T, 3, N, K)``."""
    shape = edges.lengths.shape
    values = np.matmul(basis.pairs, edges.chebyshev).reshape(-1, *shape)
    slopes = np.matmul(basis.pair_slopes, edges.chebyshev).reshape(-1, *shape)
    _, d_envelope, inner = edges.envelopes
    slopes *= 0.5 * inner
    slopes += values * (0.5 * d_envelope)
    return np.asarray(slopes[:, None] * edges.unit)


def _one_particle_slopes(basis: EdgeBasis, edges: Edges) -> np.ndarray:
    """dA/d(edge vector), ``(V, 3, N, K)``."""
    shape = edges.lengths.shape
    n_angular, _, n_lower = basis.gradients.shape
    gradients = np.matmul(basis.gradients.reshape(-1, n_lower), edges.monomials[:n_lower])
    gradients = gradients.reshape(n_angular, 3, *shape)
    gradients -= (gradients * edges.unit).sum(axis=1)[:, None] * edges.unit
    gradients /= edges.lengths
    along = edges.angular[:, None] * edges.unit
    values, slopes = edges.radials.reshape(2, basis.n_channels[0], -1, 1, 1, *shape)
    out, stop = np.empty((basis.n_one_particle, 3, *shape)), 0
    for degree, (n, z) in enumerate(zip(basis.nmax, basis.n_channels, strict=True)):
        lm = slice(degree**2, (degree + 1) ** 2)
        start, stop = stop, stop + z * n * (2 * degree + 1)
        target = out[start:stop].reshape(z, n, 2 * degree + 1, 3, *shape)
        np.multiply(slopes[:z, :n], along[lm], out=target)
        target += values[:z, :n] * gradients[lm]
    return out


def _by_atom(ours: Neighbours, rows: np.ndarray, edges: Edges, n_atoms: int) -> np.ndarray:
    """``(N, K, n_atoms + 3)`` from derivatives by edges to those by atoms, and by strain."""
    n, width = ours.index.shape
    weights = np.zeros((n, width, n_atoms + 3))
    sites, slots = np.arange(n)[:, None], np.arange(width)
    weights[sites, slots, ours.index] = 1.0
    weights[sites, slots, rows[:, None]] -= 1.0
    weights[..., n_atoms:] = edges.vectors.transpose(1, 2, 0)
    return weights


class _Summed:
    """Derivatives of a structure with few atoms: by atoms from the beginning."""

    def __init__(self, sums: Derivatives, weights: np.ndarray) -> None:
        self._sums, self._weights = sums, weights

    def add_many_body(
        self,
        basis: EdgeBasis,
        edges: Edges,
        blocks: list[tuple[slice, int, np.ndarray]],
        start: int,
    ) -> None:
        """Add the many-body features."""
        n, width, n_columns = self._weights.shape
        by_edge = _one_particle_slopes(basis, edges).reshape(-1, n, width).transpose(1, 0, 2)
        by_atom = np.matmul(by_edge, self._weights).reshape(n, -1, 3 * n_columns)
        found = np.empty((3 * n_columns, blocks[-1][0].stop))
        for block, prefix, slopes in blocks:
            left = by_atom[:, :prefix].reshape(-1, 3 * n_columns).T
            found[:, block] = np.matmul(left, slopes.reshape(left.shape[1], -1))
        self._add(slice(start, start + found.shape[1]), found)

    def add_pairs(self, columns: slice, slopes: np.ndarray) -> None:
        """Add pair features of ``slopes (T, 3, N, K)``."""
        n_columns = self._weights.shape[2]
        weights = self._weights.reshape(-1, n_columns)
        found = np.matmul(slopes.reshape(-1, len(weights)), weights)
        self._add(columns, found.reshape(-1, 3 * n_columns).T)

    def _add(self, columns: slice, found: np.ndarray) -> None:
        """``found (3 (n_atoms + 3), D)``: directions first, then atoms and strain."""
        jacobian, strain = self._sums.jacobian, self._sums.strain
        n_atoms = len(jacobian)
        found = found.reshape(3, n_atoms + 3, -1)
        jacobian[:, :, columns] += found[:, :n_atoms].transpose(1, 0, 2)
        tensor = found[:, n_atoms:]
        for row, (a, b) in enumerate(VOIGT):
            strain[0, row, columns] += (tensor[a, b] + tensor[b, a]) / 2


class _Scattered:
    """Derivatives by edges, which are added to atoms at the end."""

    def __init__(self, sums: Derivatives, ours: Neighbours, rows: np.ndarray, edges: Edges) -> None:
        targets = np.concatenate([ours.index, rows[:, None]], axis=1).ravel()
        self._sums, self._vectors = sums, edges.vectors.transpose(1, 0, 2)
        self._to_atoms = _adding(targets, len(sums.jacobian))
        self._to_frames = _adding(ours.frame, len(sums.strain))

    def add_many_body(
        self,
        basis: EdgeBasis,
        edges: Edges,
        blocks: list[tuple[slice, int, np.ndarray]],
        start: int,
    ) -> None:
        """Add the many-body features."""
        slopes = _one_particle_slopes(basis, edges)
        by_position, by_strain = self._with_centre_and_strain(slopes)
        by_position = by_position.reshape(len(by_strain), -1, len(slopes))
        for block, prefix, dense in blocks:
            self._add(
                slice(start + block.start, start + block.stop),
                np.matmul(by_position[:, :, :prefix], dense),
                np.matmul(by_strain[:, :, :prefix], dense),
            )

    def add_pairs(self, columns: slice, slopes: np.ndarray) -> None:
        """Add pair features of ``slopes (T, 3, N, K)``."""
        self._add(columns, *self._with_centre_and_strain(slopes))

    def _add(self, columns: slice, by_position: np.ndarray, by_strain: np.ndarray) -> None:
        for total, matrix, part in (
            (self._sums.jacobian, self._to_atoms, by_position),
            (self._sums.strain, self._to_frames, by_strain),
        ):
            found = matrix @ part.reshape(matrix.shape[1], -1)
            total[:, :, columns] += found.reshape(*total.shape[:2], -1)

    def _with_centre_and_strain(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by position and by strain from ``(V, 3, N, K)`` by edge vector.

        Returns ``(N, K + 1, 3, V)``, whose last slot is the centre atom itself, and
        ``(N, 6, V)``.
        """
        v, _, n, width = slopes.shape
        by_position = np.empty((n, width + 1, 3, v))
        by_edge = by_position[:, :width]
        by_edge[:] = slopes.transpose(2, 3, 1, 0)
        np.negative(by_edge.sum(axis=1), out=by_position[:, width])
        tensor = np.matmul(self._vectors, by_edge.reshape(n, width, -1)).reshape(n, 3, 3, v)
        by_strain = np.stack([(tensor[:, a, b] + tensor[:, b, a]) / 2 for a, b in VOIGT], axis=1)
        return by_position, by_strain


def _adding(targets: np.ndarray, n_rows: int) -> sp.csr_matrix:
    """The matrix ``(n_rows, n)`` that adds each of n rows to the one that ``targets`` names."""
    n = len(targets)
    return sp.csr_matrix((np.ones(n), (targets, np.arange(n))), (n_rows, n))
