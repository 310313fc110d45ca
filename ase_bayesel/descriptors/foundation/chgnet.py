"""Features of CHGNet."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from chgnet.graph.crystalgraph import CrystalGraph
from chgnet.model.dynamics import CHGNetCalculator
from chgnet.model.model import BatchedGraph, CHGNet

from ...errors import DescriptorError
from ...structures.neighbours import crossing_pairs
from ..torch import Graph, Strained, TorchDescriptor, frozen, strained
from ..torch.weights import weights_sha256
from .loading import inputs_of, silent, torch_dtype

NAMES = ("0.3.0", "0.2.0", "r2scan")
"""The models that the package brings with it."""
HEAVIEST = 94


class CHGNetDescriptor(TorchDescriptor):
    """What the readout of CHGNet is given for each atom, and the energies of the same pass.

    B. Deng et al., Nature Machine Intelligence 5, 1031 (2023). The readout is a network on 64
    features per atom, which do not turn with the structure. Cells that are not periodic in all
    directions, and none, are taken as they are.

    Parameters
    ----------
    model
        One that the package brings (`NAMES`), a file as ``CHGNet.from_file`` reads it, which is
        unpickled, or a loaded model, which is copied.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        For a model that is not there, or whose readout follows the pooling of the atoms.
    """

    module: Any

    def __init__(
        self,
        model: str | PathLike | CHGNet = "0.3.0",
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        net = _loaded(model)
        if not net.mlp_first:
            raise DescriptorError(
                "model: this CHGNet pools atoms before its readout, and has no energies of atoms"
            )
        self.module = frozen(net.to(device, torch_dtype(dtype)))
        self.elements = chemical_symbols[1 : HEAVIEST + 1]
        self.n_features = net.site_wise.in_features

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        leaves = strained(frames, self.dtype, self.device)
        parts = leaves.moved.split([len(atoms) for atoms in frames])
        graphs = [
            self._crystal(atoms, positions, leaves, number)
            for number, (atoms, positions) in enumerate(zip(frames, parts, strict=True))
        ]
        with warnings.catch_warnings():  # it makes numbers of volumes, which nothing uses
            warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
            batch = BatchedGraph.from_graphs(
                graphs, self.module.bond_basis_expansion, self.module.angle_basis_expansion
            )
        with inputs_of(self.module.mlp) as inputs:
            energies = self.module._compute(batch)["e"]
        if self.module.is_intensive:
            energies = energies * leaves.batch.bincount(minlength=len(frames))
        return Graph(
            energies + self._of_compositions(frames), inputs[0], leaves.positions, leaves.strain
        )

    def _of_compositions(self, frames: Sequence[Atoms]) -> torch.Tensor:
        """Energies ``(B,)`` per element, eV, which the network is trained on top of."""
        reference = self.module.composition_model
        if reference is None:
            return torch.zeros(len(frames), dtype=self.dtype, device=self.device)
        counts = np.stack([np.bincount(atoms.numbers - 1, minlength=HEAVIEST) for atoms in frames])
        return reference.fc(torch.from_numpy(counts).to(self.device, self.dtype)).view(-1)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, in the same precision."""
        if not isinstance(calculator, CHGNetCalculator):
            return False
        theirs = calculator.model
        return (
            next(theirs.parameters()).dtype == self.dtype
            and theirs.is_intensive == self.module.is_intensive
            and weights_sha256(theirs) == weights_sha256(self.module)
        )

    def _crystal(
        self, atoms: Atoms, positions: torch.Tensor, leaves: Strained, number: int
    ) -> CrystalGraph:
        """The graph of one structure, whose vectors follow from the leaves.

        A direction without a cell vector gets one: CHGNet takes fractional coordinates.
        """
        converter = self.module.graph_converter
        pairs = crossing_pairs(atoms, converter.atom_graph_cutoff)
        whole = (array.astype(np.int64) for array in pairs[:3])
        graph = converter.create_graph(len(atoms), *whole, pairs.lengths)
        atom_graph, to_undirected = graph.adjacency_list()
        bond_graph, to_directed = graph.line_graph_adjacency_list(converter.bond_graph_cutoff)
        missing = torch.from_numpy(atoms.cell.complete().array - atoms.cell.array)
        lattice = leaves.cells[number] + missing.to(positions)

        def integers(values: Sequence) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.int32, device=positions.device)

        return CrystalGraph(
            atomic_number=integers(atoms.numbers),
            atom_frac_coord=torch.linalg.solve(lattice, positions, left=False),
            atom_graph=integers(atom_graph),
            atom_graph_cutoff=converter.atom_graph_cutoff,
            neighbor_image=torch.from_numpy(pairs.crossed).to(positions),
            directed2undirected=integers(to_undirected),
            undirected2directed=integers(to_directed),
            bond_graph=integers(bond_graph),
            bond_graph_cutoff=converter.bond_graph_cutoff,
            lattice=lattice,
        )


def _loaded(model: str | PathLike | CHGNet) -> CHGNet:
    if isinstance(model, CHGNet):
        return copy.deepcopy(model)
    with silent():
        if model in NAMES:
            return CHGNet.load(model_name=model, use_device="cpu", verbose=False)
        try:
            return CHGNet.from_file(model)
        except FileNotFoundError:
            raise DescriptorError(
                f"{model}: no such file, and no model of the package ({', '.join(NAMES)})"
            ) from None
