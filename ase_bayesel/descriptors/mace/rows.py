"""Derivatives of MACE features: by backward passes, or by forward mode for small structures.

A structure of N atoms has 3 N + 6 derivatives of D features. Backward mode pays
one vector-Jacobian product per feature; forward mode one Jacobian-vector product
per coordinate, each about twice as dear, with copies of a structure in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from torch.autograd import forward_ad

from ...errors import DescriptorError
from ..base import VOIGT, Features
from .loading import quiet
from .network import Forward, Network

FORWARD_PRICE = 2.0
"""Cost of a Jacobian-vector product over that of a vector-Jacobian product."""

COPIES_ATOMS = {"cpu": 32, "cuda": 512}
"""Copies of the structures fill a forward-mode batch up to this many atoms."""

AGREEMENT = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest relative disagreement of forward and backward mode."""


def feature_derivatives(
    network: Network, frames: Sequence[Atoms], columns: torch.Tensor
) -> list[Features]:
    """Features with Jacobian and strain derivative of each structure of one batch.

    ``columns (D,)`` are the components of the node features that are kept.
    """
    one = network.forward(frames)
    ends = np.cumsum([len(atoms) for atoms in frames])
    values = one.node_features.detach()[:, columns].cpu().numpy().astype(float)
    n_tangents = 3 * max(map(len, frames)) + 6
    found = None
    if FORWARD_PRICE * n_tangents < len(columns):
        found = _by_forward_mode(network, frames, columns, one)
    jacobian, strain = _by_backward_mode(one, columns) if found is None else found
    return [
        Features(values[end - len(atoms) : end], jacobian[:, end - len(atoms) : end], strain[:, k])
        for k, (atoms, end) in enumerate(zip(frames, ends, strict=True))
    ]


def _by_backward_mode(one: Forward, columns: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(D, A, 3)`` and ``(D, B, 6)``: one backward pass per feature serves all structures."""
    totals = one.node_features[:, columns].sum(dim=0)
    jacobian = np.empty((len(columns), len(one.positions), 3))
    strain = np.empty((len(columns), len(one.displacement), 6))
    for k, cotangent in enumerate(torch.eye(len(totals), dtype=totals.dtype, device=totals.device)):
        jacobian[k], strain[k] = one.gradients([totals], [cotangent])
    return jacobian, strain


def _by_forward_mode(
    network: Network, frames: Sequence[Atoms], columns: torch.Tensor, one: Forward
) -> tuple[np.ndarray, np.ndarray] | None:
    """The same from 3 max(N) + 6 tangents, or None where the two modes disagree."""
    starts = np.cumsum([0, *map(len, frames)])
    largest = max(map(len, frames))
    n_atoms, n_tangents = int(starts[-1]), 3 * largest + 6
    moves = np.zeros((n_tangents, n_atoms, 3))
    strains = np.zeros((n_tangents, len(frames), 3, 3))
    for start, atoms in zip(starts, frames, strict=False):
        for number in range(3 * len(atoms)):
            moves[number, start + number // 3, number % 3] = 1.0
    for component, (a, b) in enumerate(VOIGT):
        strains[3 * largest + component, :, a, b] += 0.5
        strains[3 * largest + component, :, b, a] += 0.5
    slopes = pushforward(network, frames, columns, moves, strains)
    if not _modes_agree(one, columns, moves, strains, slopes):
        return None
    jacobian = np.empty((len(columns), n_atoms, 3))
    for k, (start, atoms) in enumerate(zip(starts, frames, strict=False)):
        by_atom = slopes[: 3 * len(atoms), k].reshape(len(atoms), 3, -1)
        jacobian[:, start : start + len(atoms)] = by_atom.transpose(2, 0, 1)
    return jacobian, slopes[3 * largest :].transpose(2, 1, 0)


def pushforward(
    network: Network,
    frames: Sequence[Atoms],
    columns: torch.Tensor,
    moves: np.ndarray,
    strains: np.ndarray,
) -> np.ndarray:
    """Derivative of each structure's feature row along T tangents, ``(T, B, D)``.

    ``moves (T, A, 3)`` displaces the atoms, ``strains (T, B, 3, 3)`` the structures.
    Copies of small structures share a batch. Forward mode is only right without
    a backward graph, hence ``no_grad``; callers compare it with backward mode.
    """
    n_tangents, n_atoms, _ = moves.shape
    n_copies = max(1, COPIES_ATOMS.get(network.device.type, 32) // n_atoms)
    slopes = np.empty((n_tangents, len(frames), len(columns)))
    for start in range(0, n_tangents, n_copies):
        part = slice(start, min(start + n_copies, n_tangents))
        copies = part.stop - part.start
        if start == 0 or copies < n_copies:
            data = network.graphs([*frames] * copies)
            positions = data["positions"]
            graph = data["batch"]
        move = torch.as_tensor(moves[part].reshape(-1, 3)).to(positions)
        strain = torch.as_tensor(strains[part].reshape(-1, 3, 3)).to(positions)
        with quiet(), torch.no_grad(), forward_ad.dual_level():
            inputs = dict(data)
            inputs["positions"] = forward_ad.make_dual(positions.clone(), move)
            inputs["displacement"] = forward_ad.make_dual(torch.zeros_like(strain), strain)
            out = network.module(inputs, compute_force=False, compute_displacement=True)
            features = out["node_feats"][:, columns]
            slope = forward_ad.unpack_dual(features).tangent
            if slope is None:
                slope = torch.zeros_like(features)
            total = torch.zeros((len(strain), len(columns)), dtype=slope.dtype, device=slope.device)
            total.index_add_(0, graph, slope)
        slopes[part] = total.cpu().numpy().reshape(copies, len(frames), -1)
    return slopes


def _modes_agree(
    one: Forward,
    columns: torch.Tensor,
    moves: np.ndarray,
    strains: np.ndarray,
    slopes: np.ndarray,
) -> bool:
    """Compare all tangents with one backward pass for a random combination of the features."""
    weights = np.random.default_rng(0).standard_normal(len(columns))
    features = one.node_features[:, columns]
    cotangent = torch.as_tensor(weights).to(features).expand_as(features)
    by_position, by_strain = one.gradients([features], [cotangent])
    tensor = np.zeros((len(by_strain), 3, 3))
    for component, (a, b) in enumerate(VOIGT):
        tensor[:, a, b] = tensor[:, b, a] = by_strain[:, component]
    backward = np.einsum("tak,ak->t", moves, by_position)
    backward += np.einsum("tbij,bij->t", strains, tensor)
    forward = slopes.sum(axis=1) @ weights
    scale = np.abs(backward).max() + np.linalg.norm(slopes)
    return bool(np.abs(forward - backward).max() <= AGREEMENT[features.dtype] * scale)


def checked_pushforward(
    network: Network, atoms: Atoms, columns: torch.Tensor, moves: np.ndarray
) -> np.ndarray:
    """Derivatives ``(T, D)`` of one structure's feature row along displacements ``(T, N, 3)``.

    Raises
    ------
    DescriptorError
        If forward and backward mode disagree for this model.
    """
    strains = np.zeros((len(moves), 1, 3, 3))
    slopes = pushforward(network, [atoms], columns, moves, strains)
    if not _modes_agree(network.forward([atoms]), columns, moves, strains, slopes):
        raise DescriptorError("forward-mode derivatives of this model are wrong; use exact rows")
    return slopes[:, 0]
