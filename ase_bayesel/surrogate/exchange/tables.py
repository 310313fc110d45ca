"""What an `ACEDescriptor` is made of, in the arrays that files of other packages hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...descriptors.ace import ACEDescriptor
from ...descriptors.ace.basis import ManyBodyBasis, many_body_basis
from ...descriptors.ace.radial import length_scales
from ...errors import DescriptorError
from ..design import Noise
from ..posterior import Posterior
from ..surrogate import Surrogate


@dataclass(frozen=True)
class LinearACE:
    """A linear ACE potential: E = sum_i E0(z_i) + coefficients . phi.

    Attributes
    ----------
    descriptor
        The features phi.
    coefficients
        ``(D,)`` eV.
    e0s
        ``(NZ,)`` eV, in the order of the descriptor's elements.
    """

    descriptor: ACEDescriptor
    coefficients: np.ndarray
    e0s: np.ndarray

    @classmethod
    def of(cls, surrogate: Surrogate) -> LinearACE:
        """The mean of a surrogate; `DescriptorError` if its features are not linear ACE."""
        descriptor = surrogate.descriptor
        if not isinstance(descriptor, ACEDescriptor):
            raise DescriptorError(
                f"descriptor: {type(descriptor).__name__} cannot be written as a linear ACE "
                "potential; fit an ACEDescriptor"
            )
        if descriptor.embedding is not None:
            raise DescriptorError(
                f"descriptor: {descriptor} cannot be written as a linear ACE potential of another "
                "package; fit one without embedding"
            )
        lacking = [symbol for symbol in descriptor.elements if symbol not in surrogate.e0s]
        if lacking:
            raise DescriptorError(f"e0s: no reference energy of {', '.join(lacking)}")
        e0s = np.array([surrogate.e0s[symbol] for symbol in descriptor.elements])
        return cls(descriptor, surrogate.posterior.mean, e0s)

    @property
    def n_species(self) -> int:
        """Number of elements."""
        return len(self.descriptor.elements)

    @cached_property
    def basis(self) -> ManyBodyBasis:
        """Tables of the many-body functions of each centre."""
        return many_body_basis(self.n_species, self.descriptor.order, self.descriptor.totaldegree)

    @cached_property
    def r0(self) -> np.ndarray:
        """``(NZ, NZ)`` length scale of each pair of elements, A."""
        table = np.zeros((self.n_species, self.n_species))
        scales = length_scales(self.descriptor.elements, self.descriptor.r0)
        for (a, b), length in scales.items():
            table[a, b] = table[b, a] = length
        return table

    @property
    def many_body(self) -> np.ndarray:
        """``(K, NZ)`` coefficients of the many-body functions of each centre."""
        start = self.n_species * (self.n_species + 1) // 2 * self.descriptor.totaldegree
        return self.coefficients[start:].reshape(self.n_species, -1).T

    @property
    def pair(self) -> np.ndarray:
        """``(T, NZ, NZ)`` coefficients of 1/2 sum_j env P_n of each pair of elements."""
        degree, n = self.descriptor.totaldegree, self.n_species
        table, start = np.zeros((degree, n, n)), 0
        for a in range(n):
            for b in range(a, n):
                table[:, a, b] = table[:, b, a] = self.coefficients[start : start + degree]
                start += degree
        return table


def coefficients(pair: np.ndarray, many_body: np.ndarray) -> np.ndarray:
    """The feature row's ``(D,)`` of tables as `LinearACE.pair` and `LinearACE.many_body`."""
    n = pair.shape[1]
    pairs = [pair[:, a, b] for a in range(n) for b in range(a, n)]
    return np.concatenate([*pairs, many_body.T.ravel()])


def surrogate_of(model: LinearACE) -> Surrogate:
    """A surrogate with the potential as its mean, and the covariance of the prior alone."""
    precision = np.diag(1.0 / model.descriptor.prior_std())
    e0s = dict(zip(model.descriptor.elements, model.e0s.tolist(), strict=True))
    return Surrogate(model.descriptor, Posterior(precision, model.coefficients), e0s, Noise())
