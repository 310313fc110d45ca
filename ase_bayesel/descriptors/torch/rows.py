"""Derivatives of a torch model's features: by vector-Jacobian or by Jacobian-vector products.

A structure of N atoms has 3 N + 6 derivatives of D features. A backward pass gives
the derivatives of one combination of the features. That gradient is linear in the
combination's weights, so a second backward pass, through the first one, gives the
derivative of all features along one displacement (double backward).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from ..base import VOIGT, Features, Sketch
from .graph import Graph

TANGENT_PRICE = 1.5
"""Cost of a Jacobian-vector product over that of a vector-Jacobian product."""


def feature_derivatives(graph: Graph, sizes: Sequence[int], twice: bool = True) -> list[Features]:
    """Features with Jacobian and strain derivative of each structure of one pass.

    ``sizes`` are their numbers of atoms; ``twice`` is that of `slopes_of`.
    """
    ends = np.cumsum(sizes)
    values = feature_values(graph)
    if twice and TANGENT_PRICE * (3 * max(sizes) + 6) < values.shape[1]:
        jacobian, strain = _by_tangents(graph, sizes)
    else:
        jacobian, strain = _by_cotangents(graph)
    return [
        Features(values[end - size : end], jacobian[:, end - size : end], strain[:, k])
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def feature_values(graph: Graph) -> np.ndarray:
    """Feature rows ``(A, D)`` of all atoms of a pass."""
    return graph.features.detach().cpu().numpy().astype(float)


def _by_cotangents(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """``(D, A, 3)`` and ``(D, B, 6)``: one backward pass per feature serves all structures."""
    totals = graph.features.sum(dim=0)
    jacobian = np.empty((len(totals), len(graph.positions), 3))
    strain = np.empty((len(totals), len(graph.strain), 6))
    for k, cotangent in enumerate(torch.eye(len(totals), dtype=totals.dtype, device=totals.device)):
        jacobian[k], strain[k] = graph.gradients([totals], [cotangent])
    return jacobian, strain


def _by_tangents(graph: Graph, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same from 3 max(N) + 6 tangents, each of which serves all structures."""
    slopes = DoubleBackward(graph, sizes)
    starts = np.cumsum([0, *sizes])
    jacobian = np.empty((graph.features.shape[1], int(starts[-1]), 3))
    for atom in range(max(sizes)):
        moved = [k for k, size in enumerate(sizes) if atom < size]
        rows = starts[moved] + atom
        for axis in range(3):
            move = np.zeros((int(starts[-1]), 3))
            move[rows, axis] = 1.0
            jacobian[:, rows, axis] = slopes.by_move(move)[moved].T
    return jacobian, slopes.by_all_strains()


def sketched_features(
    graph: Graph,
    sizes: Sequence[int],
    n_projections: int,
    rng: np.random.Generator,
    twice: bool = True,
) -> list[Sketch]:
    """Values, random projections of the force rows, and strain derivative of each structure.

    A batch pays ``n_projections`` + 6 Jacobian-vector products, whatever its size.

    Parameters
    ----------
    graph
        The pass.
    sizes
        Numbers of atoms of its structures.
    n_projections
        Number m of random combinations.
    rng
        Draws them.
    twice
        As in `slopes_of`.
    """
    ends = np.cumsum(sizes)
    values, slopes = feature_values(graph), slopes_of(graph, sizes, twice)
    moves = rng.choice([-1.0, 1.0], size=(n_projections, int(ends[-1]), 3))
    by_move = np.array([slopes.by_move(move) for move in moves])
    strain = slopes.by_all_strains()
    return [
        Sketch(values[end - size : end], moves[:, end - size : end], by_move[:, k], strain[:, k])
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


class FeatureSlopes(ABC):
    """Jacobian-vector products of the feature rows of a pass over B structures."""

    @abstractmethod
    def by_move(self, move: np.ndarray) -> np.ndarray:
        """Derivative ``(B, D)`` along a displacement ``(A, 3)`` of the atoms."""

    @abstractmethod
    def by_all_strains(self) -> np.ndarray:
        """Derivatives ``(D, B, 6)`` along the symmetric strains in Voigt order."""


def slopes_of(graph: Graph, sizes: Sequence[int], twice: bool) -> FeatureSlopes:
    """Jacobian-vector products of a pass.

    Where the model can be differentiated ``twice`` each is one backward pass; elsewhere the
    whole Jacobian is formed first, by D backward passes.
    """
    return DoubleBackward(graph, sizes) if twice else WholeJacobian(graph, sizes)


class DoubleBackward(FeatureSlopes):
    """By a backward pass through a backward pass.

    The gradient of ``sum_b weights_b . phi_b`` is formed once, with its graph; its
    gradient by the weights is the derivative of phi. It holds that graph.
    """

    def __init__(self, graph: Graph, sizes: Sequence[int]) -> None:
        features = graph.features
        self._weights = features.new_zeros((len(sizes), features.shape[1])).requires_grad_(True)
        counts = torch.tensor(sizes, device=features.device)
        leaves = [graph.positions, graph.strain]
        self._gradients = tuple(leaf.detach() for leaf in leaves)
        if features.requires_grad:
            self._gradients = torch.autograd.grad(
                [features],
                leaves,
                [self._weights.repeat_interleave(counts, dim=0)],
                create_graph=True,
                materialize_grads=True,
            )

    def by_move(self, move: np.ndarray) -> np.ndarray:
        return self._along(self._gradients[0], move)

    def by_strain(self, strain: np.ndarray) -> np.ndarray:
        """Derivative ``(B, D)`` along a strain ``(B, 3, 3)`` of the structures."""
        return self._along(self._gradients[1], strain)

    def by_all_strains(self) -> np.ndarray:
        tensors = np.zeros((6, len(self._weights), 3, 3))
        for component, (a, b) in enumerate(VOIGT):
            tensors[component, :, a, b] += 0.5
            tensors[component, :, b, a] += 0.5
        return np.stack([self.by_strain(tensor).T for tensor in tensors], axis=-1)

    def _along(self, gradient: torch.Tensor, tangent: np.ndarray) -> np.ndarray:
        if not gradient.requires_grad:  # no atom has a neighbour
            return np.zeros(self._weights.shape)
        (slope,) = torch.autograd.grad(
            [gradient],
            [self._weights],
            [torch.as_tensor(tangent).to(gradient)],
            retain_graph=True,
            materialize_grads=True,
        )
        return slope.cpu().numpy().astype(float)


class WholeJacobian(FeatureSlopes):
    """From all derivatives, which D backward passes give."""

    def __init__(self, graph: Graph, sizes: Sequence[int]) -> None:
        self._jacobian, self._strain = _by_cotangents(graph)
        self._starts = np.cumsum([0, *sizes[:-1]])

    def by_move(self, move: np.ndarray) -> np.ndarray:
        by_atom = np.einsum("dax,ax->ad", self._jacobian, move)
        return np.add.reduceat(by_atom, self._starts, axis=0)

    def by_all_strains(self) -> np.ndarray:
        return self._strain
