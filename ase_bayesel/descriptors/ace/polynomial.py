"""The many-body polynomial B(A) of one centre species: values, adjoint and Jacobian.

Everything here acts on the products of one-particle functions of N atoms, one row each:
1, the V functions A, all pair products that occur, and the triple products. B and its
derivatives are sparse linear maps of these rows.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import scipy.sparse as sp

from .basis import ManyBodyBasis


class SitePolynomial:
    """Evaluates the K many-body functions of a basis from one-particle functions."""

    def __init__(self, basis: ManyBodyBasis) -> None:
        self.n_functions = len(basis.functions)
        self.n_one_particle = basis.n_one_particle
        used = np.abs(basis.value) > 1e-14 * np.abs(basis.value).max(initial=1.0)
        feature, factors, value = basis.feature[used], basis.factors[used], basis.value[used]
        body = (factors >= 0).sum(axis=1)

        triples, triple = np.unique(
            np.sort(factors[body == 3], axis=1), axis=0, return_inverse=True
        )
        doubles = np.sort(factors[body == 2][:, :2], axis=1)
        sides = [triples[:, [0, 1]], triples[:, [0, 2]], triples[:, [1, 2]]]
        pairs, pair = np.unique(np.concatenate([doubles, *sides]), axis=0, return_inverse=True)
        self._pairs = slice(1 + self.n_one_particle, 1 + self.n_one_particle + len(pairs))
        rows = self._pairs.start + pair.ravel()
        double, *places = np.split(rows, len(doubles) + len(triples) * np.arange(3))

        # B: rows of the products by the place of each monomial
        column = np.empty(len(value), int)
        column[body == 1] = 1 + factors[body == 1][:, 0]
        column[body == 2] = double
        column[body == 3] = self._pairs.stop + triple.ravel()
        self._n_rows = self._pairs.stop + len(triples)
        self._couplings = sp.csr_matrix(
            (value, (feature, column)), (self.n_functions, self._n_rows)
        )
        self._pair_factors = (1 + pairs[:, 0], 1 + pairs[:, 1])
        self._triple_factors = (places[0], 1 + triples[:, 2])

        # dB/dA: each monomial's derivative by each of its factors is one of the first rows
        singles, seconds = body == 1, body == 2
        thirds, which = np.flatnonzero(body == 3), triple.ravel()
        by = [factors[singles][:, 0], doubles[:, 0], doubles[:, 1], *triples[which].T]
        what = [np.zeros(singles.sum(), int), 1 + doubles[:, 1], 1 + doubles[:, 0]]
        what += [places[2][which], places[1][which], places[0][which]]
        monomial = [np.flatnonzero(singles), *[np.flatnonzero(seconds)] * 2, *[thirds] * 3]
        of = np.concatenate(monomial)
        terms = (feature[of], np.concatenate(by), np.concatenate(what), value[of])
        self._slopes = [
            (columns, width, _Slopes(*terms, columns, width, self._pairs.stop))
            for columns, width in basis.blocks()
        ]
        entry, slot = np.unique(terms[1] * self._pairs.stop + terms[2], return_inverse=True)
        self._adjoint_values = sp.csr_matrix(
            (terms[3], (slot.ravel(), terms[0])), (len(entry), self.n_functions)
        )
        ends = np.searchsorted(entry, np.arange(self.n_one_particle + 1) * self._pairs.stop)
        self._adjoint = sp.csr_matrix(
            (np.zeros(len(entry)), entry % self._pairs.stop, ends),
            (self.n_one_particle, self._pairs.stop),
        )

    def products(self, a: np.ndarray) -> np.ndarray:
        """The rows from which everything else follows, ``(rows, N)``, of A ``(V, N)``."""
        rows = np.empty((self._n_rows, a.shape[1]))
        rows[0] = 1.0
        rows[1 : self._pairs.start] = a
        for target, factors in (
            (rows[self._pairs], self._pair_factors),
            (rows[self._pairs.stop :], self._triple_factors),
        ):
            first, second = (rows.take(factor, axis=0) for factor in factors)
            np.multiply(first, second, out=target)
        return rows

    def totals(self, products: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """B summed over the atoms, ``(K,)``; with ``weights (N, G)`` that many sums, ``(K, G)``."""
        if weights is None:
            return np.asarray(self._couplings @ products.sum(axis=1))
        return np.asarray(self._couplings @ (products @ weights))

    def values(self, products: np.ndarray) -> np.ndarray:
        """B of each atom, ``(K, N)``."""
        return np.asarray(self._couplings @ products)

    def adjoint(self, products: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """Gradient of ``sum_i cotangent . B_i`` with respect to A, ``(V, N)``."""
        linear = copy(self._adjoint)
        linear.data = self._adjoint_values @ cotangent
        return np.asarray(linear @ products[: self._pairs.stop])

    def jacobian(self, products: np.ndarray) -> list[tuple[slice, int, np.ndarray]]:
        """dB/dA of each atom in blocks of functions.

        Each block is the slice of its k functions, the length v of the prefix of
        A that they depend on, and a dense ``(N, v, k)``.
        """
        first = products[: self._pairs.stop]
        return [(columns, width, slopes(first)) for columns, width, slopes in self._slopes]


class _Slopes:
    """dB_k/dA_v of a run of functions, as a sparse linear map from the first products."""

    def __init__(
        self,
        feature: np.ndarray,
        by: np.ndarray,
        what: np.ndarray,
        value: np.ndarray,
        columns: slice,
        width: int,
        n_products: int,
    ) -> None:
        n_columns = columns.stop - columns.start
        ours = (feature >= columns.start) & (feature < columns.stop)
        places = by[ours] * n_columns + feature[ours] - columns.start
        self._slots, slot = np.unique(places, return_inverse=True)
        self._map = sp.csr_matrix(
            (value[ours], (slot.ravel(), what[ours])), (len(self._slots), n_products)
        )
        self._shape = (width, n_columns)

    def __call__(self, products: np.ndarray) -> np.ndarray:
        n_atoms = products.shape[1]
        dense = np.zeros((n_atoms, self._shape[0] * self._shape[1]))
        dense[:, self._slots] = (self._map @ products).T
        return dense.reshape(n_atoms, *self._shape)
