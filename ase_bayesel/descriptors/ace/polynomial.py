"""The many-body polynomial B(A) of one centre species: values, adjoint and Jacobian.

Everything here acts on A of shape ``(V, N)``: V one-particle functions of N
atoms. Triples are formed as a stored pair product times a third factor, and
the coupling stays sparse.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from .basis import ManyBodyBasis


class SitePolynomial:
    """Evaluates the K many-body functions of a basis from one-particle functions."""

    def __init__(self, basis: ManyBodyBasis) -> None:
        self.n_functions = len(basis.functions)
        self.n_one_particle = basis.n_one_particle
        used = np.abs(basis.value) > 1e-14 * np.abs(basis.value).max(initial=1.0)
        feature, factors, value = basis.feature[used], basis.factors[used], basis.value[used]
        body = (factors >= 0).sum(axis=1)

        triples, triple = np.unique(factors[body == 3], axis=0, return_inverse=True)
        doubles, double = np.unique(factors[body == 2][:, :2], axis=0, return_inverse=True)
        pairs, pair = np.unique(
            np.concatenate([triples[:, :2], doubles]), axis=0, return_inverse=True
        )
        pair = pair.ravel()
        n_pairs, n_triples = len(pairs), len(triples)

        def coupling(rows: np.ndarray, columns: np.ndarray, width: int) -> sp.csr_matrix:
            return sp.csr_matrix((value[rows], (feature[rows], columns)), (self.n_functions, width))

        self._single = coupling(body == 1, factors[body == 1][:, 0], self.n_one_particle)
        self._double = coupling(body == 2, pair[n_triples:][double.ravel()], n_pairs)
        self._triple = coupling(body == 3, triple.ravel(), n_triples)
        self._pair_a = torch.from_numpy(pairs[:, 0].copy())
        self._pair_b = torch.from_numpy(pairs[:, 1].copy())
        self._triple_pair = torch.from_numpy(pair[:n_triples].copy())
        self._triple_c = torch.from_numpy(triples[:, 2].copy())
        # triples as a matrix of pair by third factor, entries in the order of its CSR storage
        order = np.arange(n_triples, dtype=float)
        cells = (pair[:n_triples], triples[:, 2])
        self._third = sp.csr_matrix((order, cells), (n_pairs, self.n_one_particle))
        self._third_transposed = self._third.T.tocsr()
        self._transposition = self._third_transposed.data.astype(int)
        self._adjoints = tuple(m.T.tocsr() for m in (self._single, self._double, self._triple))
        self._slopes = [
            (columns, width, _Slopes(feature, factors, value, columns, width))
            for columns, width in basis.blocks()
        ]

    def pairs(self, a: torch.Tensor) -> torch.Tensor:
        """Products of two one-particle functions, ``(pairs, N)``, shared by what follows."""
        return a[self._pair_a] * a[self._pair_b]

    def totals(
        self, a: torch.Tensor, pairs: torch.Tensor, weights: torch.Tensor | None = None
    ) -> np.ndarray:
        """B summed over the atoms, ``(K,)``; with ``weights (N, G)`` that many sums, ``(K, G)``."""
        triples = pairs[self._triple_pair] * a[self._triple_c]
        single, double, triple = (
            (x.sum(dim=1) if weights is None else x @ weights).numpy() for x in (a, pairs, triples)
        )
        return self._single @ single + self._double @ double + self._triple @ triple

    def values(self, a: torch.Tensor) -> np.ndarray:
        """B of each atom, ``(K, N)``."""
        pairs = self.pairs(a)
        triples = pairs[self._triple_pair] * a[self._triple_c]
        return (
            self._single @ a.numpy() + self._double @ pairs.numpy() + self._triple @ triples.numpy()
        )

    def adjoint(self, a: torch.Tensor, pairs: torch.Tensor, cotangent: np.ndarray) -> torch.Tensor:
        """Gradient of ``sum_i cotangent . B_i`` with respect to A, ``(V, N)``."""
        single, double, triple = (m @ cotangent for m in self._adjoints)
        third = _with_values(self._third, triple)
        third_transposed = _with_values(self._third_transposed, triple[self._transposition])
        d_pairs = torch.from_numpy(third @ a.numpy() + double[:, None])
        d_a = torch.from_numpy(third_transposed @ pairs.numpy() + single[:, None])
        d_a.index_add_(0, self._pair_a, d_pairs * a[self._pair_b])
        d_a.index_add_(0, self._pair_b, d_pairs * a[self._pair_a])
        return d_a

    def jacobian(self, a: torch.Tensor) -> list[tuple[slice, int, torch.Tensor]]:
        """dB/dA of each atom in blocks of functions.

        Each block is the slice of its k functions, the length v of the prefix of
        A that they depend on, and a dense ``(N, v, k)``.
        """
        return [(columns, width, slopes(a)) for columns, width, slopes in self._slopes]


def _with_values(pattern: sp.csr_matrix, values: np.ndarray) -> sp.csr_matrix:
    return sp.csr_matrix((values, pattern.indices, pattern.indptr), pattern.shape)


class _Slopes:
    """dB_k/dA_v of a run of functions, as a sparse linear map from 1, A and pair products."""

    def __init__(
        self,
        feature: np.ndarray,
        factors: np.ndarray,
        value: np.ndarray,
        columns: slice,
        width: int,
    ) -> None:
        n_columns = columns.stop - columns.start
        ours = (feature >= columns.start) & (feature < columns.stop)
        feature, factors, value = feature[ours] - columns.start, factors[ours], value[ours]
        slots, remaining, values = [], [], []
        for place in range(3):
            present = factors[:, place] >= 0
            slots.append(factors[present, place] * n_columns + feature[present])
            others = np.delete(factors[present], place, axis=1)
            remaining.append(np.sort(others, axis=1))
            values.append(value[present])
        products, product = np.unique(np.concatenate(remaining), axis=0, return_inverse=True)
        self._slots, slot = np.unique(np.concatenate(slots), return_inverse=True)
        self._map = sp.csr_matrix(
            (np.concatenate(values), (slot.ravel(), product.ravel())),
            (len(self._slots), len(products)),
        )
        # a row of ones follows the prefix of A: an absent factor (-1) multiplies by one
        self._first = torch.from_numpy(products[:, 0] % (width + 1))
        self._second = torch.from_numpy(products[:, 1] % (width + 1))
        self._shape = (width, n_columns)

    def __call__(self, a: torch.Tensor) -> torch.Tensor:
        width, n_columns = self._shape
        n_atoms = a.shape[1]
        with_one = torch.cat([a[:width], torch.ones((1, n_atoms), dtype=a.dtype)])
        products = with_one[self._first] * with_one[self._second]
        dense = np.zeros((n_atoms, width * n_columns))
        dense[:, self._slots] = (self._map @ products.numpy()).T
        return torch.from_numpy(dense).view(n_atoms, width, n_columns)
