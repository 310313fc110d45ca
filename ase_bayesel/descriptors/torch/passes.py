"""One forward pass of a torch model for energies and feature rows, and its derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...errors import DescriptorError
from ..base import Combination, Gradient
from .graph import Graph, structure_sums
from .rows import FeatureSlopes, slopes_of


class TorchPass:
    """One forward pass over B structures: ``energies (B,)`` (eV) and feature rows ``phi (B, D)``.

    It holds the graph of the pass, so keep it no longer than needed.

    Parameters
    ----------
    graph
        The pass. Without energies they are NaN here.
    sizes
        Number of atoms of each structure.
    twice
        Whether the model can be differentiated twice; see `slopes_of`.
    """

    def __init__(self, graph: Graph, sizes: Sequence[int], twice: bool = True) -> None:
        self._graph, self._twice = graph, twice
        self._slopes: FeatureSlopes | None = None
        structure = torch.repeat_interleave(torch.tensor(sizes)).to(graph.features.device)
        self._phi = structure_sums(graph.features, structure, len(sizes))
        self._sizes, ends = list(sizes), np.cumsum(sizes)
        self._atoms = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        self.energies = (
            np.full(len(sizes), np.nan)
            if graph.energies is None
            else graph.energies.detach().cpu().numpy().astype(float)
        )
        self.phi = self._phi.detach().cpu().numpy().astype(float)

    def values(self, index: int) -> np.ndarray:
        """Feature rows ``(n_atoms, D)`` of one structure's atoms."""
        return self._graph.features.detach()[self._atoms[index]].cpu().numpy().astype(float)

    def gradients(
        self, wanted: Mapping[int, Combination], last: bool = False
    ) -> dict[int, Gradient]:
        """Gradients of one combination for each index asked for, in one backward pass.

        The ``last`` one frees the graph as it goes.

        Raises
        ------
        DescriptorError
            If a cotangent has the wrong shape, or a model without energies is to give one.
        """
        weights, slopes = np.zeros_like(self.energies), np.zeros_like(self.phi)
        features, by_atom = self._graph.features, None
        for index, (energy_weight, cotangent) in wanted.items():
            weights[index] = energy_weight
            if cotangent is not None and np.ndim(cotangent) == 2:
                by_atom = np.zeros(tuple(features.shape)) if by_atom is None else by_atom
                by_atom[self._atoms[index]] = self._checked(cotangent, self._sizes[index])
            elif cotangent is not None:
                slopes[index] = self._checked(cotangent)
        outputs, cotangents = [], []
        if weights.any():
            outputs.append(self._graph.energy)
            cotangents.append(torch.as_tensor(weights).to(self._graph.energy))
        if any(c is not None and np.ndim(c) == 1 for _, c in wanted.values()):
            outputs.append(self._phi)
            cotangents.append(torch.as_tensor(slopes).to(self._phi))
        if by_atom is not None:
            outputs.append(features)
            cotangents.append(torch.as_tensor(by_atom).to(features))
        by_position, by_strain = self._graph.gradients(outputs, cotangents, last)
        return {k: Gradient(by_position[self._atoms[k]], by_strain[k]) for k in wanted}

    def pushforward(self, index: int, moves: np.ndarray) -> np.ndarray:
        """Derivatives ``(T, D)`` of one structure's phi along displacements ``(T, N, 3)``.

        A backward pass each; the first call pays two more, or D where the model can be
        differentiated only once.
        """
        if self._slopes is None:
            self._slopes = slopes_of(self._graph, self._sizes, self._twice)
        whole = np.zeros((len(moves), len(self._graph.positions), 3))
        whole[:, self._atoms[index]] = moves
        return np.array([self._slopes.by_move(move)[index] for move in whole])

    def _checked(self, cotangent: np.ndarray, *n_atoms: int) -> np.ndarray:
        cotangent, shape = np.asarray(cotangent, float), (*n_atoms, *self.phi.shape[1:])
        if cotangent.shape != shape:
            raise DescriptorError(f"cotangent: expected shape {shape}, got {cotangent.shape}")
        return cotangent
