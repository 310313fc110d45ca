"""Features of MatGL's potentials: M3GNet and TensorNet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from typing import Any

import matgl
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from torch_geometric.data import Data

from ...errors import DescriptorError
from ..torch import Graph, Strained, TorchDescriptor, edges, frozen, strained
from ..torch.weights import weights_sha256
from .loading import loading, torch_dtype


class MatGLDescriptor(TorchDescriptor):
    """Node features before the readout of an M3GNet or a TensorNet, and the energies of the pass.

    C. Chen and S. P. Ong, Nature Computational Science 2, 718 (2022); G. Simeon and
    G. De Fabritiis, NeurIPS (2023); MatGL: T. W. Ko et al., npj Comput. Mater. 11, 253 (2025).

    Parameters
    ----------
    model
        A folder or a name as ``matgl.load_model`` takes it, or a potential, which is copied.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        For a model that cannot be loaded, or is none of these.
    """

    module: Any

    def __init__(
        self, model: str | PathLike | Potential, dtype: str = "float32", device: str = "cpu"
    ) -> None:
        potential = _loaded(model)
        net = potential.model
        if type(net).__name__ not in ("M3GNet", "TensorNet") or net.is_intensive:
            raise DescriptorError(
                f"model: expected an M3GNet or a TensorNet of energies, got {type(net).__name__}"
            )
        if potential.calc_charge or potential.calc_repuls:
            raise DescriptorError("model: charges and a repulsion beside the network are not known")
        self.module = frozen(potential.to(device, torch_dtype(dtype)))
        self.elements = list(net.element_types)
        with torch.no_grad():
            self.n_features = self._pass([Atoms(self.elements[0])])[1].shape[1]

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        energies, features, leaves = self._pass(frames)
        return Graph(energies, features, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, in the same precision."""
        return (
            isinstance(calculator, PESCalculator)
            and calculator.state_attr is None
            and calculator.potential.data_mean.dtype == self.dtype
            and weights_sha256(calculator.potential) == weights_sha256(self.module)
        )

    def _pass(self, frames: Sequence[Atoms]) -> tuple[torch.Tensor, torch.Tensor, Strained]:
        """Energies ``(B,)``, features ``(A, D)`` and the leaves that they follow from."""
        potential, net = self.module, self.module.model
        leaves = strained(frames, self.dtype, self.device)
        pairs = edges(frames, net.cutoff, self.device)
        cells = leaves.cells[leaves.batch[pairs.first]]
        types = [self.elements.index(symbol) for atoms in frames for symbol in atoms.symbols]
        data = Data(
            node_type=torch.tensor(types, device=self.device),
            pos=leaves.moved,
            edge_index=torch.stack([pairs.first, pairs.second]),
            pbc_offshift=torch.einsum("ek,ekx->ex", pairs.crossed.to(cells), cells),
            batch=leaves.batch,
        )
        data.num_graphs = len(frames)
        energies = potential.data_std * net(g=data).view(-1) + potential.data_mean
        if potential.element_refs is not None:
            energies = energies + potential.element_refs(data).view(-1)
        known = net.feature_dict
        if type(net).__name__ == "TensorNet":
            return energies, known["readout"], leaves
        return energies, known[f"gc_{net.n_blocks}"]["node_feat"], leaves


def _loaded(model: str | PathLike | Potential) -> Potential:
    if isinstance(model, Potential):
        last_pass = getattr(model.model, "feature_dict", {})  # tensors that cannot be copied
        return copy.deepcopy(model, {id(last_pass): {}})
    with loading(model):
        return matgl.load_model(str(model))
