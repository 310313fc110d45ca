"""Features of NequIP's models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from nequip.data import AtomicDataDict as keys
from nequip.integrations.ase import NequIPCalculator
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.nn.graph_model import GraphModel

from ...errors import DescriptorError
from ..torch import Graph, TorchDescriptor, edges, frozen, strained
from ..torch.weights import weights_sha256
from .loading import loading

READOUT = "per_atom_energy_readout"


class NequIPDescriptor(TorchDescriptor):
    """Scalar node features before the readout of a NequIP model, and the energies of its pass.

    S. Batzner et al., Nature Communications 13, 2453 (2022). The precision is that of the model.

    Parameters
    ----------
    model
        A checkpoint or a package as the package saves it, not a compiled model; or a model, which
        is copied.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        For a model that cannot be loaded, or that has no such readout.
    """

    module: Any

    def __init__(self, model: str | PathLike | GraphModel, device: str = "cpu") -> None:
        net = _loaded(model)
        self._layers = dict(getattr(net.model, "func", net.model).named_children())
        if READOUT not in self._layers:
            raise DescriptorError("model: no NequIP model with energies of atoms")
        self.module = frozen(net.to(device))
        self.elements = list(net.type_names)
        self.n_features = self._layers[READOUT].irreps_in[keys.NODE_FEATURES_KEY].dim
        self._cutoff = float(net.metadata["r_max"])

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        leaves = strained(frames, self.dtype, self.device)
        pairs = edges(frames, self._cutoff, self.device)
        types = [self.elements.index(symbol) for atoms in frames for symbol in atoms.symbols]
        data = {
            keys.POSITIONS_KEY: leaves.moved,
            keys.CELL_KEY: leaves.cells,
            keys.ATOM_TYPE_KEY: torch.tensor(types, device=self.device),
            keys.EDGE_INDEX_KEY: torch.stack([pairs.first, pairs.second]),
            keys.EDGE_CELL_SHIFT_KEY: pairs.crossed.to(self.dtype),
            keys.BATCH_KEY: leaves.batch,
            keys.NUM_NODES_KEY: leaves.batch.bincount(minlength=len(frames)),
        }
        features = leaves.moved
        for name, layer in self._layers.items():
            if name == READOUT:
                features = data[keys.NODE_FEATURES_KEY]
            data = layer(data)
        energies = data[keys.TOTAL_ENERGY_KEY].reshape(len(frames))
        return Graph(energies, features, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, whose energies are in eV and A."""
        return (
            isinstance(calculator, NequIPCalculator)
            and (calculator.energy_units_to_eV, calculator.length_units_to_A) == (1.0, 1.0)
            and next(calculator.model.parameters()).dtype == self.dtype
            and weights_sha256(calculator.model) == weights_sha256(self.module)
        )


def _loaded(model: str | PathLike | GraphModel) -> GraphModel:
    if isinstance(model, GraphModel):
        return copy.deepcopy(model)
    with loading(model):
        return load_saved_model(str(model))
