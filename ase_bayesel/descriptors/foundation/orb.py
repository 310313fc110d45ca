"""Features of ORB."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any, TypeAlias

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from orb_models.forcefield.atomic_system import SystemConfig, ase_atoms_to_atom_graphs
from orb_models.forcefield.base import batch_graphs
from orb_models.forcefield.calculator import ORBCalculator
from orb_models.forcefield.conservative_regressor import ConservativeForcefieldRegressor
from orb_models.forcefield.direct_regressor import DirectForcefieldRegressor
from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

from ...errors import DescriptorError
from ..torch import Graph, TorchDescriptor, frozen
from ..torch.weights import weights_sha256
from .loading import loading, torch_dtype

Regressor: TypeAlias = ConservativeForcefieldRegressor | DirectForcefieldRegressor
DEFAULT = "orb-v3-conservative-inf-omat"
HEAVIEST = 117


class ORBDescriptor(TorchDescriptor):
    """Node features before the readout of ORB, and the energies of the same pass.

    B. Rhodes et al., arXiv:2504.06231 (2025). ORB learns rotations from data, so that its
    features turn a little with the structure. Energies jump where an atom has more neighbours than
    the model takes; derivatives are those at the neighbours at hand. Forces are the gradient of the
    energy, also for a model that predicts forces by themselves. A structure is periodic in all
    directions or in none.

    Parameters
    ----------
    model
        A name that the package downloads, a file of weights, or a model, which is copied.
    architecture
        The name whose network a file of weights belongs to.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        Such as ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        If there is no such model, or if it reads charge and spin.
    """

    module: Any

    def __init__(
        self,
        model: str | PathLike | Regressor = DEFAULT,
        architecture: str = DEFAULT,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        net = _loaded(model, architecture)
        if net.model.conditioner is not None:
            raise DescriptorError("model: this ORB reads charge and spin, which is not supported")
        self.module = frozen(net.to(device, torch_dtype(dtype)))
        self._config: SystemConfig = net.system_config
        self.settings = {
            "radius": self._config.radius,
            "max_num_neighbors": self._config.max_num_neighbors,
        }
        self.elements = chemical_symbols[1 : HEAVIEST + 1]
        self.n_features = net.model.node_embed_size

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        net = self.module
        batch = batch_graphs([self._neighbours(atoms) for atoms in frames])
        vectors, strain, _ = batch.compute_differentiable_edge_vectors(use_rotation=False)
        batch.edge_features["vectors"] = vectors
        features = net.model(batch)["node_features"]
        head = net.heads["energy"]
        energies = head.denormalize(head(features, batch), batch)
        if net.pair_repulsion:
            energies = energies + net.pair_repulsion_fn(batch)["energy"]
        return Graph(energies, features, batch.node_features["positions"], strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same weights, whose forces follow from the energy."""
        return (
            isinstance(calculator, ORBCalculator)
            and bool(calculator.conservative)
            and calculator.system_config == self._config
            and calculator.max_num_neighbors in (None, self._config.max_num_neighbors)
            and next(calculator.model.parameters()).dtype == self.dtype
            and weights_sha256(calculator.model) == weights_sha256(self.module)
        )

    def _neighbours(self, atoms: Atoms) -> Any:
        """The package's own graph of one structure."""
        if atoms.pbc.any() and not atoms.pbc.all():
            raise DescriptorError(
                "pbc: ORB takes structures that are periodic in all directions or in none; add "
                "vacuum and make all directions periodic"
            )
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        return ase_atoms_to_atom_graphs(
            bare,
            system_config=self._config,
            device=self.device,
            output_dtype=self.dtype,
            graph_construction_dtype=self.dtype,
        )


def _loaded(model: str | PathLike | Regressor, architecture: str) -> Regressor:
    if isinstance(model, Regressor):
        return copy.deepcopy(model)
    file = {} if model in ORB_PRETRAINED_MODELS else {"weights_path": fspath(model)}
    name = architecture if file else model
    if name not in ORB_PRETRAINED_MODELS:
        raise DescriptorError(
            f"architecture: expected one of {', '.join(ORB_PRETRAINED_MODELS)}, got {name!r}"
        )
    with loading(model), _default_dtype():
        return ORB_PRETRAINED_MODELS[name](device="cpu", compile=False, **file)


@contextmanager
def _default_dtype() -> Iterator[None]:
    """The package sets the default dtype of all torch when it loads a model."""
    before, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_float32_matmul_precision(precision)
