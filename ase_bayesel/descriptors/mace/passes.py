"""One forward pass of a MACE model for energies and feature rows, and its derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...errors import DescriptorError
from ..base import Combination, Gradient
from .network import Forward
from .rows import FeatureSlopes


class MACEPass:
    """One forward pass over B structures: ``energies (B,)`` (eV) and feature rows ``phi (B, D)``.

    It holds the graph of the pass, so keep it no longer than needed.
    """

    def __init__(self, forward: Forward, columns: torch.Tensor, sizes: Sequence[int]) -> None:
        self._forward, self._columns = forward, columns
        self._slopes: FeatureSlopes | None = None
        structure = torch.repeat_interleave(torch.tensor(sizes)).to(columns.device)
        self._features = forward.node_features[:, columns]
        self._phi = structure_sums(self._features, structure, len(sizes))
        self._sizes, ends = list(sizes), np.cumsum(sizes)
        self._atoms = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self.energies = forward.energy.detach().cpu().numpy().astype(float)
        self.phi = self._phi.detach().cpu().numpy().astype(float)

    def values(self, index: int) -> np.ndarray:
        """Feature rows ``(n_atoms, D)`` of one structure's atoms."""
        return self._features.detach()[self._atoms[index]].cpu().numpy().astype(float)

    def gradients(
        self, wanted: Mapping[int, Combination], last: bool = False
    ) -> dict[int, Gradient]:
        """Gradients of one combination for each index asked for, in one backward pass.

        The ``last`` one frees the graph as it goes.

        Raises
        ------
        DescriptorError
            If a cotangent has the wrong shape.
        """
        weights, slopes = np.zeros_like(self.energies), np.zeros_like(self.phi)
        by_atom = None
        for index, (energy_weight, cotangent) in wanted.items():
            weights[index] = energy_weight
            if cotangent is not None and np.ndim(cotangent) == 2:
                by_atom = np.zeros(tuple(self._features.shape)) if by_atom is None else by_atom
                by_atom[self._atoms[index]] = self._checked(cotangent, self._sizes[index])
            elif cotangent is not None:
                slopes[index] = self._checked(cotangent)
        outputs, cotangents = [], []
        if weights.any():
            outputs.append(self._forward.energy)
            cotangents.append(torch.as_tensor(weights).to(self._forward.energy))
        if any(c is not None and np.ndim(c) == 1 for _, c in wanted.values()):
            outputs.append(self._phi)
            cotangents.append(torch.as_tensor(slopes).to(self._phi))
        if by_atom is not None:
            outputs.append(self._features)
            cotangents.append(torch.as_tensor(by_atom).to(self._features))
        by_position, by_strain = self._forward.gradients(outputs, cotangents, last)
        return {k: Gradient(by_position[self._atoms[k]], by_strain[k]) for k in wanted}

    def pushforward(self, index: int, moves: np.ndarray) -> np.ndarray:
        """Derivatives ``(T, D)`` of one structure's phi along displacements ``(T, N, 3)``.

        A backward pass each; the first call pays two more.
        """
        if self._slopes is None:
            self._slopes = FeatureSlopes(self._forward, self._sizes, self._columns)
        whole = np.zeros((len(moves), len(self._forward.positions), 3))
        whole[:, self._atoms[index]] = moves
        return np.array([self._slopes.by_move(move)[index] for move in whole])

    def _checked(self, cotangent: np.ndarray, *n_atoms: int) -> np.ndarray:
        cotangent, shape = np.asarray(cotangent, float), (*n_atoms, *self.phi.shape[1:])
        if cotangent.shape != shape:
            raise DescriptorError(f"cotangent: expected shape {shape}, got {cotangent.shape}")
        return cotangent


def structure_sums(
    values: torch.Tensor, structure: torch.Tensor, n_structures: int
) -> torch.Tensor:
    """Sums ``(B, D)`` of values ``(A, D)`` over the atoms of each structure.

    ``structure (A,)`` is the number of each atom's structure, below ``n_structures``.
    """
    zeros = values.new_zeros(n_structures, values.shape[1])
    return zeros.index_add(0, structure, values)
