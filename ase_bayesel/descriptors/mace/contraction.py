"""The symmetric contraction of MACE as a sparse polynomial.

mace-torch contracts dense coupling tensors with the features A of an atom, one
factor after the other (Batatia et al., NeurIPS 2022, Eqs. 10 and 11):

    m[w] = sum over degrees n and paths k of W[z, k] U[w; v1 ... vn; k] A[v1] ... A[vn]

per channel, with weights W of the atom's element z. Since products of A commute
and most of U is zero, only few terms remain: each is one coefficient times a
product of a shorter monomial and one more factor.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from .internals import Contraction, SymmetricContraction

NEGLIGIBLE = 1e-13
"""A coupling is zero below this many times the largest one."""


class SymmetricPolynomial(torch.nn.Module):
    """The polynomial of a SymmetricContraction of mace-torch; weights are taken as constant.

    ``coefficients (Z, T, C)`` are those of the T terms for each element and
    channel, ``assignment (W, T)`` sums the terms of each output component.
    """

    def __init__(self, contraction: SymmetricContraction) -> None:
        super().__init__()
        terms, coefficients, components = [], [], []
        self._dims: list[int] = []
        for block in contraction.contractions:
            for coupling, weights in _degrees(block):
                monomials, component, path_values = _terms(coupling)
                terms += monomials
                components.append(component + sum(self._dims))
                coefficients.append(torch.einsum("tk,zkc->ztc", path_values, weights))
            self._dims.append(len(coupling))
            n_inputs = coupling.shape[1]
        component = torch.cat(components)
        one_hot = torch.nn.functional.one_hot(component, sum(self._dims))
        like = contraction.contractions[0].weights_max.detach()
        self.coefficients = torch.cat(coefficients, dim=1).to(like)
        self.assignment = one_hot.T.to(like)
        levels, self._prefix, self._factor = _factorised(terms, n_inputs)
        self._levels = [(left.to(like.device), right.to(like.device)) for left, right in levels]
        self._prefix, self._factor = self._prefix.to(like.device), self._factor.to(like.device)

    @staticmethod
    def supported(contraction: SymmetricContraction) -> bool:
        """Whether it is mace-torch's own, not one of an accelerator library."""
        return type(contraction).__name__ == "SymmetricContraction"

    def forward(self, features: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        """``features (A, C, V)`` and one-hot elements ``(A, Z)`` -> ``(A, C * W)`` by irreps."""
        factors = features.transpose(1, 2)
        factors = torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)
        monomials = factors
        for left, right in self._levels:
            products = monomials.index_select(1, left) * factors.index_select(1, right)
            monomials = torch.cat([monomials, products], dim=1)
        terms = monomials.index_select(1, self._prefix) * factors.index_select(1, self._factor)
        terms = terms * self.coefficients.index_select(0, attributes.argmax(dim=1))
        parts = (self.assignment @ terms).split(self._dims, dim=1)
        return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)


def _degrees(block: Contraction) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Couplings ``(w, V, ..., V, K)`` and weights ``(Z, K, C)``, from degree 1 upwards."""
    for degree, weights in enumerate([*reversed(list(block.weights)), block.weights_max], start=1):
        coupling = block.U_tensors(degree).double().cpu()
        if coupling.dim() == degree + 1:
            coupling = coupling[None]
        yield coupling, weights.detach().double().cpu()


def _terms(coupling: torch.Tensor) -> tuple[list[tuple[int, ...]], torch.Tensor, torch.Tensor]:
    """Nonzero terms of one coupling: monomials, output components ``(t,)``, values ``(t, K)``.

    Factors are counted from 1 and sorted; equal products are summed.
    """
    shape = coupling.shape[1:-1]
    factors = np.sort(np.indices(shape).reshape(len(shape), -1).T + 1, axis=1)
    monomials, which = np.unique(factors, axis=0, return_inverse=True)
    summed = torch.zeros(len(coupling), len(monomials), coupling.shape[-1], dtype=coupling.dtype)
    summed.index_add_(1, torch.from_numpy(which.ravel()), coupling.flatten(1, -2))
    size = summed.abs()
    component, term = (size.amax(dim=-1) > NEGLIGIBLE * size.max()).nonzero(as_tuple=True)
    return [tuple(monomials[t]) for t in term.tolist()], component, summed[component, term]


def _factorised(
    terms: list[tuple[int, ...]], n_inputs: int
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor, torch.Tensor]:
    """Each term as a row of a table of shorter monomials times one factor.

    The table begins with 1 and the inputs; each level appends products of one of
    its rows and one input. Returned are (rows, inputs) per level and of the terms.
    """
    row: dict[tuple[int, ...], int] = {(): 0} | {(v,): v for v in range(1, n_inputs + 1)}
    levels = []
    for degree in range(2, max(map(len, terms))):
        new = sorted({term[:degree] for term in terms if len(term) > degree})
        levels.append(_as_products(new, row))
        row |= {monomial: len(row) + k for k, monomial in enumerate(new)}
    return levels, *_as_products(terms, row)


def _as_products(
    monomials: list[tuple[int, ...]], row: dict[tuple[int, ...], int]
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.tensor([row[monomial[:-1]] for monomial in monomials])
    return rows, torch.tensor([int(monomial[-1]) for monomial in monomials])
