"""Features of MatterSim."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from ase.units import GPa
from mattersim.datasets.utils.convertor import compute_threebody_indices
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from mattersim.forcefield.potential import MatterSimCalculator, Potential

from ..torch import Graph, TorchDescriptor, edges, frozen, strained
from ..torch.graph import structure_sums
from ..torch.weights import weights_sha256
from .loading import loading, torch_dtype

COSINE_MARGIN = 1e-7
"""So far from 1 and -1 the package keeps cosines, since the angle has no slope there."""


class MatterSimDescriptor(TorchDescriptor):
    """Node features before the readout of MatterSim's M3GNet, and the energies of the same pass.

    H. Yang et al., arXiv:2405.04967 (2024).

    Parameters
    ----------
    model
        ``MatterSim-v1.0.0-1M`` or ``MatterSim-v1.0.0-5M``, which the package downloads, a
        checkpoint, which is unpickled, or a network, which is copied.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        If there is no such model.
    """

    module: Any

    def __init__(
        self,
        model: str | PathLike | M3Gnet = "MatterSim-v1.0.0-1M",
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        net = _loaded(model, device)
        self.module = frozen(net.to(device, torch_dtype(dtype)))
        self.settings = {key: net.model_args[key] for key in ("cutoff", "threebody_cutoff")}
        self.elements = chemical_symbols[1 : net.max_z + 1]
        self.n_features = net.model_args["units"]

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network, as its ``forward``; see `TorchDescriptor.graph`."""
        net = self.module
        leaves = strained(frames, self.dtype, self.device)
        pairs = edges(frames, self.settings["cutoff"], self.device)
        order = torch.argsort(pairs.first, stable=True)  # triples are found centre by centre
        first, second, crossed = (one[order] for one in pairs)
        vectors = leaves.vectors(first, second, crossed)
        lengths = vectors.norm(dim=1)
        triples, per_edge = self._triples(first, second, lengths, len(leaves.batch))
        one, other = vectors[triples[:, 0]], vectors[triples[:, 1]]
        cosines = (one * other).sum(dim=1) / (lengths[triples[:, 0]] * lengths[triples[:, 1]])
        angles = torch.acos(cosines.clamp(COSINE_MARGIN - 1.0, 1.0 - COSINE_MARGIN))
        charges = np.concatenate([atoms.numbers for atoms in frames])
        numbers = torch.from_numpy(charges).to(self.device, torch.long)
        kinds = torch.nn.functional.one_hot(numbers, num_classes=net.max_z + 1).to(self.dtype)
        nodes = net.atom_embedding(kinds)
        radial = net.rbf(lengths)
        bonds = net.edge_encoder(radial)
        basis = net.sbf(lengths[triples[:, 1]], angles)
        for block in net.graph_conv:
            nodes, bonds = block(
                nodes,
                bonds,
                radial,
                torch.stack([first, second]),
                basis,
                triples,
                lengths.unsqueeze(-1),
                torch.tensor([len(first)], device=self.device),
                per_edge,
                torch.tensor([len(nodes)], device=self.device),
                total_num_atoms=len(nodes),
                total_num_bonds=len(first),
                three_body_edge_map=torch.repeat_interleave(per_edge),
            )
        of_atoms = net.normalizer(net.final(nodes).view(-1), numbers)
        energies = structure_sums(of_atoms[:, None], leaves.batch, len(frames))[:, 0]
        return Graph(energies, nodes, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, whose stress is in eV/A^3."""
        if not isinstance(calculator, MatterSimCalculator) or calculator.stress_weight != GPa:
            return False
        theirs = calculator.potential.model
        return (
            isinstance(theirs, M3Gnet)
            and theirs.model_args == self.module.model_args
            and next(theirs.parameters()).dtype == self.dtype
            and weights_sha256(theirs) == weights_sha256(self.module)
        )

    def _triples(
        self, first: torch.Tensor, second: torch.Tensor, lengths: torch.Tensor, n_atoms: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of edges of one centre ``(T, 2)``, and how many of them each edge begins."""
        triples, per_edge, *_ = compute_threebody_indices(
            bond_atom_indices=torch.stack([first, second], dim=1).cpu().numpy(),
            bond_length=lengths.detach().cpu().numpy(),
            n_atoms=n_atoms,
            atomic_number=np.zeros(n_atoms),
            threebody_cutoff=self.settings["threebody_cutoff"],
        )
        whole = (
            torch.from_numpy(array).to(self.device, torch.long) for array in (triples, per_edge)
        )
        return tuple(whole)  # type: ignore[return-value]


def _loaded(model: str | PathLike | M3Gnet, device: str) -> M3Gnet:
    if isinstance(model, M3Gnet):
        return copy.deepcopy(model)
    with loading(model):
        return Potential.from_checkpoint(
            fspath(model), device=device, load_training_state=False
        ).model
