"""Derivatives of MACE features: by vector-Jacobian or by Jacobian-vector products.

A structure of N atoms has 3 N + 6 derivatives of D features. A backward pass gives
the derivatives of one combination of the features. That gradient is linear in the
combination's weights, so a second backward pass, through the first one, gives the
derivative of all features along one displacement (double backward).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from ..base import VOIGT, Features, Sketch
from .network import Forward, Network

TANGENT_PRICE = 1.5
"""Cost of a Jacobian-vector product over that of a vector-Jacobian product."""


def feature_derivatives(
    network: Network, frames: Sequence[Atoms], columns: torch.Tensor
) -> list[Features]:
    """Features with Jacobian and strain derivative of each structure of one batch.

    ``columns (D,)`` are the components of the node features that are kept.
    """
    forward = network.forward(frames)
    sizes = [len(atoms) for atoms in frames]
    ends = np.cumsum(sizes)
    values = forward.node_features.detach()[:, columns].cpu().numpy().astype(float)
    if TANGENT_PRICE * (3 * max(sizes) + 6) < len(columns):
        jacobian, strain = _by_tangents(forward, sizes, columns)
    else:
        jacobian, strain = _by_cotangents(forward, columns)
    return [
        Features(values[end - size : end], jacobian[:, end - size : end], strain[:, k])
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def _by_cotangents(forward: Forward, columns: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(D, A, 3)`` and ``(D, B, 6)``: one backward pass per feature serves all structures."""
    totals = forward.node_features[:, columns].sum(dim=0)
    jacobian = np.empty((len(columns), len(forward.positions), 3))
    strain = np.empty((len(columns), len(forward.displacement), 6))
    for k, cotangent in enumerate(torch.eye(len(totals), dtype=totals.dtype, device=totals.device)):
        jacobian[k], strain[k] = forward.gradients([totals], [cotangent])
    return jacobian, strain


def _by_tangents(
    forward: Forward, sizes: Sequence[int], columns: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The same from 3 max(N) + 6 tangents, each of which serves all structures."""
    slopes = FeatureSlopes(forward, sizes, columns)
    starts = np.cumsum([0, *sizes])
    jacobian = np.empty((len(columns), int(starts[-1]), 3))
    for atom in range(max(sizes)):
        moved = [k for k, size in enumerate(sizes) if atom < size]
        rows = starts[moved] + atom
        for axis in range(3):
            move = np.zeros((int(starts[-1]), 3))
            move[rows, axis] = 1.0
            jacobian[:, rows, axis] = slopes.by_move(move)[moved].T
    return jacobian, slopes.by_all_strains()


def sketched_features(
    network: Network,
    frames: Sequence[Atoms],
    columns: torch.Tensor,
    n_projections: int,
    rng: np.random.Generator,
) -> list[Sketch]:
    """Values, random projections of the force rows, and strain derivative of each structure.

    A batch pays ``n_projections`` + 6 Jacobian-vector products, whatever its size.

    Parameters
    ----------
    network
        The model.
    frames
        The structures of one batch.
    columns
        ``(D,)`` the components of the node features that are kept.
    n_projections
        Number m of random combinations.
    rng
        Draws them.
    """
    forward = network.forward(frames)
    sizes = [len(atoms) for atoms in frames]
    ends = np.cumsum(sizes)
    values = forward.node_features.detach()[:, columns].cpu().numpy().astype(float)
    slopes = FeatureSlopes(forward, sizes, columns)
    moves = rng.choice([-1.0, 1.0], size=(n_projections, int(ends[-1]), 3))
    by_move = np.array([slopes.by_move(move) for move in moves])
    strain = slopes.by_all_strains()
    return [
        Sketch(values[end - size : end], moves[:, end - size : end], by_move[:, k], strain[:, k])
        for k, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]


class FeatureSlopes:
    """Jacobian-vector products of the feature rows of a pass over B structures.

    The gradient of ``sum_b weights_b . phi_b`` is formed once, with its graph; its
    gradient by the weights is the derivative of phi. It holds that graph.
    """

    def __init__(self, forward: Forward, sizes: Sequence[int], columns: torch.Tensor) -> None:
        features = forward.node_features[:, columns]
        shape = (len(sizes), len(columns))
        self._weights = torch.zeros(
            shape, dtype=features.dtype, device=features.device, requires_grad=True
        )
        counts = torch.tensor(sizes, device=features.device)
        self._gradients = torch.autograd.grad(
            [features],
            [forward.positions, forward.displacement],
            [self._weights.repeat_interleave(counts, dim=0)],
            create_graph=True,
            materialize_grads=True,
        )

    def by_move(self, move: np.ndarray) -> np.ndarray:
        """Derivative ``(B, D)`` along a displacement ``(A, 3)`` of the atoms."""
        return self._along(self._gradients[0], move)

    def by_strain(self, strain: np.ndarray) -> np.ndarray:
        """Derivative ``(B, D)`` along a strain ``(B, 3, 3)`` of the structures."""
        return self._along(self._gradients[1], strain)

    def by_all_strains(self) -> np.ndarray:
        """Derivatives ``(D, B, 6)`` along the symmetric strains in Voigt order."""
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
