"""Features of fairchem's models: UMA, and eSEN of the same classes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
from fairchem.core.calculate.pretrained_mlip import get_predict_unit
from fairchem.core.datasets.atomic_data import AtomicData
from fairchem.core.models.uma.escn_md import eSCNMDBackbone
from fairchem.core.units.mlip_unit.api.inference import (
    DEFAULT_SPIN,
    DEFAULT_SPIN_OMOL,
    InferenceSettings,
    UMATask,
)
from fairchem.core.units.mlip_unit.predict import MLIPPredictUnit

from ...errors import DescriptorError
from ...structures.electronic import CHARGE, SPIN, electronic_state
from ..torch import Edges, Graph, Strained, TorchDescriptor, edges, frozen, strained
from .loading import loading, torch_dtype


class FAIRChemDescriptor(TorchDescriptor):
    """Scalar node features before the readout of UMA, and the energies of the same pass.

    B. Wood et al., arXiv:2506.23971 (2025). The experts are mixed anew for each structure, so that
    a batch may hold any. Forces are the gradient of the energy, also for a model that predicts
    forces by themselves. Charge and spin of a structure are ``atoms.info["charge"]`` and
    ``atoms.info["spin"]``, as for the package's calculator. Channels that a model balances over the
    whole structure make its features extensive for neutral singlets only; a spin that is not given
    is 1 for ``omol``, and 0, for not known, in other tasks. A single atom without periodicity has
    the energy of the package's table, as there; not a number where a checkpoint has none.

    Parameters
    ----------
    model
        A name such as ``uma-s-1p2``, which the package downloads, or a checkpoint, which is
        unpickled.
    task_name
        Which of the model's tasks: ``omat``, ``omol``, ``oc20``, ``odac``, ``omc``; None for
        the only one.
    dtype
        ``float32``, as the package calculates, or ``float64``.
    device
        ``cpu`` or ``cuda``.

    Raises
    ------
    DescriptorError
        If there is no such model or task, or if the model is of other classes.
    """

    module: Any
    states_read = (CHARGE, SPIN)

    def __init__(
        self,
        model: str | PathLike,
        task_name: str | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        unit = _loaded(model, torch_dtype(dtype), device)
        net = unit.model.module
        if not isinstance(net.backbone, eSCNMDBackbone):
            raise DescriptorError(
                f"model: a {type(net.backbone).__name__}, and this adapter is for UMA and eSEN"
            )
        tasks = sorted(unit.dataset_to_tasks)
        name = tasks[0] if task_name is None and len(tasks) == 1 else task_name
        if name not in tasks:
            raise DescriptorError(f"task_name: expected one of {', '.join(tasks)}, got {name!r}")
        (self._energy,) = (
            task for task in unit.dataset_to_tasks[name] if task.property == "energy"
        )
        self._conservative = not net.backbone.regress_config.direct_forces
        self._file_sha256 = _file_sha256(unit)
        self._of_atoms = unit.atom_refs.get(name, {})
        self._only_energies(net.backbone)
        parts = {"net": net, "scale": self._energy.normalizer}
        if self._energy.element_references is not None:
            parts["references"] = self._energy.element_references
        self.module = frozen(torch.nn.ModuleDict(parts).to(device))
        self.settings = {"task_name": name}
        self.elements = chemical_symbols[1 : net.backbone.max_num_elements]
        self.n_features = net.backbone.sphere_channels

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One pass of the network; see `TorchDescriptor.graph`."""
        net, energy = self.module["net"], self._energy
        leaves = strained(frames, self.dtype, self.device)
        pairs = edges(frames, net.backbone.cutoff, self.device)
        self._check_neighbours(pairs, net.backbone.max_neighbors)
        data = self._data(frames, leaves, pairs)
        embedding = net.backbone(data)
        outputs: dict[str, Any] = {}
        for name, head in net.output_heads.items():
            found = head(data, embedding)
            outputs.update(found if net.pass_through_head_outputs else {name: found})
        energies = energy.normalizer.denorm(outputs[energy.name]["energy"])
        if energy.element_references is not None:
            energies = energy.element_references.undo_refs(data, energies)
        energies = self._with_lone_atoms(frames, energies)
        features = embedding["node_embedding"][:, 0]
        return Graph(energies, features, leaves.positions, leaves.strain)

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether it is a calculator of the same checkpoint, whose forces follow from the energy.

        Its experts may be merged, so that files are compared and not weights.
        """
        if not isinstance(calculator, FAIRChemCalculator):
            return False
        unit = calculator.predictor
        return (
            isinstance(unit, MLIPPredictUnit)
            and self._conservative
            and calculator.task_name == self.settings["task_name"]
            and unit.inference_settings.base_precision_dtype == self.dtype
            and not unit.inference_settings.tf32
            and not unit._overrides
            and _file_sha256(unit) == self._file_sha256
        )

    def _data(self, frames: Sequence[Atoms], leaves: Strained, pairs: Edges) -> AtomicData:
        """Structures as the package takes them, with the edges that they have here."""
        sizes = torch.tensor([len(atoms) for atoms in frames], device=self.device)
        numbers = torch.cat([torch.from_numpy(atoms.numbers) for atoms in frames])
        charges, spins = zip(*map(self._state, frames), strict=True)
        zeros = torch.zeros(len(numbers), dtype=torch.long, device=self.device)
        return AtomicData(
            pos=leaves.moved,
            atomic_numbers=numbers.to(self.device, torch.long),
            cell=leaves.cells,
            pbc=torch.tensor([atoms.pbc.tolist() for atoms in frames], device=self.device),
            natoms=sizes,
            edge_index=torch.stack([pairs.second, pairs.first]),
            cell_offsets=pairs.crossed.to(self.dtype),
            nedges=leaves.batch[pairs.first].bincount(minlength=len(frames)),
            charge=torch.tensor(charges, device=self.device),
            spin=torch.tensor(spins, device=self.device),
            fixed=zeros,
            tags=zeros,
            batch=leaves.batch,
            sid=[""] * len(frames),
            dataset=[self.settings["task_name"]] * len(frames),
        )

    def _state(self, atoms: Atoms) -> tuple[int, int]:
        """Charge and spin; a spin that is not given is what the package takes for the task."""
        omol = self.settings["task_name"] == UMATask.OMOL.value
        usual = DEFAULT_SPIN_OMOL if omol else DEFAULT_SPIN
        return electronic_state(atoms).charge, int(atoms.info.get(SPIN, usual))

    def _with_lone_atoms(self, frames: Sequence[Atoms], energies: torch.Tensor) -> torch.Tensor:
        """The energies ``(B,)``, with those of single atoms from the package's table."""
        if self.module["net"].supports_single_atoms:
            return energies
        lone = [k for k, atoms in enumerate(frames) if len(atoms) == 1 and not atoms.pbc.any()]
        if not lone:
            return energies
        known = torch.tensor([self._of_atom(frames[k]) for k in lone]).to(energies)
        return energies.index_copy(0, torch.tensor(lone, device=self.device), known)

    def _of_atom(self, atoms: Atoms) -> float:
        """Energy of a single atom, eV: by element, or by element and charge."""
        number = int(atoms.numbers[0])
        try:
            found = self._of_atoms[number]
            return float(found[self._state(atoms)[0]] if isinstance(found, Mapping) else found)
        except (KeyError, IndexError):
            return math.nan

    @staticmethod
    def _only_energies(backbone: eSCNMDBackbone) -> None:
        """Derivatives are formed here, and so are edges."""
        wanted = backbone.regress_config
        wanted.forces = wanted.stress = wanted.hessian = False
        backbone.otf_graph = False

    @staticmethod
    def _check_neighbours(pairs: Edges, most: int) -> None:
        if len(pairs.first) and int(pairs.first.bincount().max()) > most:
            raise DescriptorError(
                f"an atom has more than {most} neighbours, the most that this model takes; the "
                "structure is too dense"
            )


def _loaded(model: str | PathLike, dtype: torch.dtype, device: str) -> MLIPPredictUnit:
    settings = InferenceSettings(activation_checkpointing=False, base_precision_dtype=dtype)
    with loading(model):
        unit = get_predict_unit(fspath(model), settings, device=device)
        unit.model.to(dtype)
    return unit


def _file_sha256(unit: MLIPPredictUnit) -> str | None:
    """Of the checkpoint; None if it is no longer there."""
    file = Path(unit._inference_model_path)
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
