"""Features of metatomic models: PET of metatrain and upet, and whatever else is exported so."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from metatomic.torch import (
    AtomisticModel,
    ModelEvaluationOptions,
    ModelOutput,
    System,
    load_atomistic_model,
)
from metatomic_ase import MetatomicCalculator
from vesin.metatomic import NeighborList

from ...errors import DescriptorError
from ..torch import Graph, Strained, TorchDescriptor, frozen, strained
from ..torch.weights import weights_sha256
from .loading import loading

ENERGY = "energy"
FEATURES = ("mtt::aux::energy_last_layer_features", "feature")
"""Outputs that hold features of atoms, the first that a model has."""


class MetatomicDescriptor(TorchDescriptor):
    """Features of atoms that a metatomic model gives, and the energies of the same pass.

    PET: S. Pozdnyakov and M. Ceriotti, NeurIPS (2023); A. Mazitov et al., Nature Communications
    16, 10653 (2025). PET learns rotations from data, so that its features turn a little with the
    structure. The precision is that of the model.

    Parameters
    ----------
    model
        A file as the package exports it, or a model, which is used as it is.
    features
        The output that is taken; None for the input of the last layer, or ``feature``.
    extensions
        The folder of the extensions that the model needs, if any.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        If the model cannot be loaded, asks for more than positions and elements, or has no
        energies or features of atoms.
    """

    module: Any

    def __init__(
        self,
        model: str | PathLike | AtomisticModel,
        features: str | None = None,
        extensions: str | PathLike | None = None,
        device: str = "cpu",
    ) -> None:
        net = _loaded(model, extensions)
        known = net.capabilities()
        self._features = features or next((one for one in FEATURES if one in known.outputs), "")
        for name in (ENERGY, self._features):
            if name not in known.outputs:
                raise DescriptorError(
                    f"features: this model has no output {name!r}, but {sorted(known.outputs)}"
                )
        wanted = sorted(net.requested_inputs(use_new_names=True))
        if wanted:
            raise DescriptorError(f"model: it asks for {', '.join(wanted)}, which is not supported")
        self.module = frozen(net.to(device))
        self.settings = {"features": self._features}
        self.elements = [chemical_symbols[number] for number in known.atomic_types]
        self._lists = [
            NeighborList(options, "angstrom", skin=0.0)
            for options in net.requested_neighbor_lists()
        ]
        with torch.no_grad():
            self.n_features = self._pass([Atoms(self.elements[0])])[1].shape[1]

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        energies, features, leaves = self._pass(frames)
        return Graph(energies, features, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, whose forces follow from the energy."""
        return (
            isinstance(calculator, MetatomicCalculator)
            and not calculator.parameters["non_conservative"]
            and not calculator.parameters["variants"]
            and calculator._model.capabilities().dtype == self.module.capabilities().dtype
            and weights_sha256(calculator._model) == weights_sha256(self.module)
        )

    def _pass(self, frames: Sequence[Atoms]) -> tuple[torch.Tensor, torch.Tensor, Strained]:
        """Energies ``(B,)``, features ``(A, D)`` and the leaves that they follow from."""
        leaves = strained(frames, self.dtype, self.device)
        sizes = [len(atoms) for atoms in frames]
        systems = []
        for atoms, positions, cell in zip(
            frames, leaves.moved.split(sizes), leaves.cells, strict=True
        ):
            numbers = torch.from_numpy(atoms.numbers).to(self.device, torch.int32)
            periodic = torch.from_numpy(atoms.pbc).to(self.device)
            systems.append(System(numbers, positions, cell * periodic[:, None], periodic))
        for one in self._lists:
            one.add_neighbor_list(systems, copy=True)
        outputs = {
            ENERGY: ModelOutput(unit="eV", sample_kind="system"),
            self._features: ModelOutput(sample_kind="atom"),
        }
        options = ModelEvaluationOptions(length_unit="angstrom", outputs=outputs)
        found = self.module(systems, options, check_consistency=False)
        block = found[self._features].block()
        starts = torch.cumsum(torch.tensor([0, *sizes[:-1]]), 0).to(self.device)
        rows = starts[block.samples.column("system")] + block.samples.column("atom")
        features = block.values[torch.argsort(rows)]
        return found[ENERGY].block().values[:, 0], features, leaves


def _loaded(model: str | PathLike | AtomisticModel, extensions: str | PathLike | None) -> Any:
    if isinstance(model, torch.nn.Module):
        return model
    with loading(model):
        return load_atomistic_model(model, extensions_directory=extensions)
