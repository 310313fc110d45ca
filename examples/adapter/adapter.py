"""The adapter: features of `pairnet`, which ase_bayesel has never heard of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from pairnet import MEV, PairNetCalculator, collate, load

from ase_bayesel.descriptors.torch import Graph, TorchDescriptor, frozen, strained


class PairNetDescriptor(TorchDescriptor):
    """The last hidden state of each atom, and the energies of the same pass."""

    def __init__(self, model: str, dtype: str = "float64") -> None:
        self.module = frozen(load(model, getattr(torch, dtype)))
        self.elements = self.module.species
        self.n_features = self.module.width

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        leaves = strained(frames, self.dtype, self.device)
        data = collate(self.module, frames)
        cells = leaves.cells[leaves.batch[data["idx_i"]]]
        data["positions"] = leaves.moved
        data["offsets"] = torch.einsum("ek,ekx->ex", data["crossed"].to(cells), cells)
        out = self.module(data)
        return Graph(out["energy_meV"] * MEV, out["state"], leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        return isinstance(calculator, PairNetCalculator) and calculator.net is self.module
