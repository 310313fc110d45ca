"""Features of SevenNet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from sevenn import _keys as keys
from sevenn.calculator import SevenNetCalculator
from sevenn.nn.sequential import AtomGraphSequential
from sevenn.util import load_checkpoint

from ...errors import DescriptorError
from ..torch import Graph, TorchDescriptor, edges, frozen, strained
from ..torch.weights import weights_sha256
from .loading import silent, torch_dtype

READOUT = "reduce_input_to_hidden"
"""The first of the modules after the last interaction."""
SPECIES, FORCES = "onehot_idx_to_onehot", "force_output"


class SevenNetDescriptor(TorchDescriptor):
    """Node features after the last interaction of SevenNet, and the energies of the same pass.

    Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024). The features are scalars, 128 per atom
    for SevenNet-0; the readout is linear in them.

    Parameters
    ----------
    model
        A name such as ``7net-0`` or ``7net-l3i5``, a checkpoint, or a model, which is copied.
    modal
        The fidelity of a model that has several.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        If the model cannot be found, or the fidelity is missing or unknown.
    """

    module: Any

    def __init__(
        self,
        model: str | PathLike | AtomGraphSequential = "7net-0",
        modal: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        net = _loaded(model)
        fidelities = list(net.modal_map or ())
        if (modal is not None or fidelities) and modal not in fidelities:
            raise DescriptorError(f"modal: expected one of {fidelities}, got {modal!r}")
        net.set_is_batch_data(True)
        self.module = frozen(net.to(device, torch_dtype(dtype)))
        self.settings = {} if modal is None else {"modal": modal}
        self.elements = [chemical_symbols[z] for z in sorted(net.type_map)]
        self.n_features = net._modules[READOUT].linear.irreps_in.dim

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        net = self.module
        leaves = strained(frames, self.dtype, self.device)
        pairs = edges(frames, net.cutoff, self.device)
        numbers = torch.cat([torch.from_numpy(atoms.numbers) for atoms in frames])
        data = {
            keys.NODE_FEATURE: net._atomic_numbers_to_onehot(numbers.long()).to(self.device),
            keys.EDGE_IDX: torch.stack([pairs.first, pairs.second]),
            keys.EDGE_VEC: leaves.vectors(*pairs),
            keys.BATCH: leaves.batch,
            keys.NUM_ATOMS: leaves.batch.bincount(minlength=len(frames)),
        }
        if "modal" in self.settings:
            modal = net.modal_map[self.settings["modal"]]
            data[keys.MODAL_TYPE] = torch.full((len(frames),), modal, device=self.device)
        for name, module in net._modules.items():
            if name == READOUT:
                features = data[keys.NODE_FEATURE]
            if name != FORCES:
                data = module(data)
            if name == SPECIES:  # in float32, whatever the model's dtype
                for key in (keys.NODE_FEATURE, keys.NODE_ATTR):
                    data[key] = data[key].to(self.dtype)
        energies = data[keys.PRED_TOTAL_ENERGY].reshape(len(frames))
        return Graph(energies, features, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights and fidelity, in the same precision."""
        return (
            isinstance(calculator, SevenNetCalculator)
            and calculator.modal == self.settings.get("modal")
            and next(calculator.model.parameters()).dtype == self.dtype
            and weights_sha256(calculator.model) == weights_sha256(self.module)
        )


def _loaded(model: str | PathLike | AtomGraphSequential) -> AtomGraphSequential:
    if isinstance(model, AtomGraphSequential):
        return copy.deepcopy(model)
    with silent():
        try:
            return load_checkpoint(str(model)).build_model()
        except (OSError, ValueError) as error:
            raise DescriptorError(f"model: cannot load {str(model)!r} ({error})") from error
