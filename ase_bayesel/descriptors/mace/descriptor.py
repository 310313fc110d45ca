"""MACE node features behind the interface of a descriptor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from ...errors import DescriptorError
from ...io.hashing import content_hash
from ..torch.descriptor import TorchDescriptor
from ..torch.graph import Graph
from ..torch.runtime import DTYPES, dtype_name
from .internals import is_mace_calculator
from .loading import file_at, locate, weights_sha256
from .network import states_read
from .source import (
    build_network,
    check_file,
    from_calculator,
    from_file,
    layer_columns,
    numbers_of,
)

COMPONENTS = ("invariant", "all")


class MACEDescriptor(TorchDescriptor):
    """Node features of a MACE model (Batatia et al., NeurIPS 2022).

    A model file is a Python pickle: unpickling one runs whatever code it holds. So the model
    is made anew from the numbers and tensors of the file, unless you ``trust`` it.

    The usual blocks of the model are replaced by faster ones in a copy, after a
    comparison on a small cluster (relative deviation at most 1e-10 in double,
    1e-4 in single precision); ``network.lean`` tells whether that was possible.
    The copy keeps the weights as they were when the descriptor was made.

    Exact force and virial rows cost D backward passes, or 3 N + 6 Jacobian-vector
    products where that is cheaper; `sketch` and `force_uncertainty` do with fewer.
    benchmarks/mace_step.py and mace_uncertainty.py measure what that means.

    Parameters
    ----------
    model
        Path of a model file, the name of a foundation model (``"mace_mp:medium"``,
        ``"mace_off:small"``; downloaded once, where there is a network), or a
        MACECalculator with one model, which is then shared and not copied.
    components
        ``"invariant"``: the scalars of every layer, which rotations, reflections
        and permutations of equal atoms leave alone (256 for the medium model of
        MACE-MP-0). ``"all"``: every component of the node features (640 there), as
        in Rocke and Kermode (2025). Those beyond the scalars turn with the
        structure, so energies, uncertainties and selections depend on how a
        structure is oriented in space.
    num_layers
        Use the first this many layers; all by default.
    head
        Head of the energy model. Features do not depend on it.
    dtype
        ``"float32"`` or ``"float64"``; by default that of the model.
    device
        A PyTorch device such as ``"cuda"``; by default that of the calculator,
        else ``"cpu"``.
    elements
        Cut the model down to these elements, which makes one that knows many
        faster. The smaller model is compared with the full one
        and refused if it differs.
    model_file
        Where the model of a calculator lies on disk, which `spec` needs.
    trust
        Unpickle the file, for a model that mace's constructor does not make the same again.

    Raises
    ------
    DescriptorError
        If the model cannot be found, read or used; the message says what to give.
    """

    def __init__(
        self,
        model: str | PathLike | Calculator,
        components: str = "invariant",
        num_layers: int | None = None,
        head: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        elements: Sequence[str] | None = None,
        model_file: str | PathLike | None = None,
        trust: bool = False,
    ) -> None:
        if components not in COMPONENTS:
            raise DescriptorError(f"components: must be one of {COMPONENTS}, got {components!r}")
        if dtype is not None and dtype not in DTYPES:
            raise DescriptorError(f"dtype: must be one of {tuple(DTYPES)}, got {dtype!r}")
        if isinstance(model, Calculator):
            source = from_calculator(model)
        else:
            source = from_file(model, trust)
        self.model_file = source.file
        full = build_network(source, head, dtype, device)
        if model_file is not None:
            self.model_file = locate(model_file)
            if isinstance(model, Calculator):
                check_file(full.module, self.model_file, trust)
        self._full = full
        self._cut = None if elements is None else list(elements)
        network = full if elements is None else full.cut(numbers_of(elements))
        self.network = network.to_lean()
        self._layers = layer_columns(full.module, components)
        self.num_layers = len(self._layers) if num_layers is None else int(num_layers)
        if not 1 <= self.num_layers <= len(self._layers):
            raise DescriptorError(f"num_layers: must be 1 to {len(self._layers)}, got {num_layers}")
        chosen = [column for layer in self._layers[: self.num_layers] for column in layer]
        self.columns = torch.tensor(chosen, device=self.network.device)
        self.module, self.n_features = full.module, len(chosen)
        self.elements = [chemical_symbols[z] for z in self.network.numbers]
        self.states_read = states_read(self.network.module)
        self.settings = {
            "components": components,
            "num_layers": self.num_layers,
            "head": self.network.head,
            "elements": self._cut,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.network.device

    def graph(self, frames: Sequence[Atoms]) -> Graph:
        """One forward pass of the model, with the chosen components of its features."""
        graph = self.network.forward(frames)
        return graph._replace(features=graph.features[:, self.columns])

    def is_model_of(self, calculator: Calculator) -> bool:
        """Whether ``calculator`` is a MACECalculator on this very model, so `forward` replaces it.

        The same weights, head, dtype and kind of device; a committee, a compiled
        model or converted units are not served.
        """
        if not is_mace_calculator(calculator):
            return False
        models = getattr(calculator, "models", None)
        if models is None or len(models) != 1:
            return False
        if calculator.energy_units_to_eV != 1.0 or calculator.length_units_to_A != 1.0:
            return False
        ours, theirs = self._full, models[0]
        if calculator.head != ours.head or calculator.use_compile:
            return False
        if calculator.info_keys != ours.info_keys or calculator.device.type != ours.device.type:
            return False
        return theirs is ours.module or weights_sha256(theirs) == weights_sha256(ours.module)

    def spec(self) -> dict[str, Any]:
        """Everything needed to build the same descriptor again; the model by path and SHA-256.

        Raises
        ------
        DescriptorError
            If the model came with a calculator and no ``model_file`` was given.
        """
        if self.model_file is None:
            raise DescriptorError(
                "the file of this MACE model is not known, so the descriptor cannot be saved; "
                "give MACEDescriptor(calculator, model_file=path)"
            )
        return {
            "kind": "mace",
            "model": str(self.model_file),
            "sha256": content_hash(self.model_file),
            **self.settings,
            "dtype": dtype_name(self.network.module),
            "device": str(self.network.device),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], trust: bool = False) -> MACEDescriptor:
        """The descriptor that `spec` describes, on the CPU where its device is missing.

        A spec may come from a stranger's file: it says nothing of ``trust``, and its model is a
        path, as `spec` gives it. One by name would be downloaded.

        Raises
        ------
        DescriptorError
            If the model file is gone or is not the one that was saved.
        """
        path = file_at(spec["model"])
        if content_hash(path) != spec["sha256"]:
            raise DescriptorError(f"{path}: not the MACE model that was saved (other SHA-256)")
        device = spec["device"]
        if device.startswith("cuda") and not torch.cuda.is_available():
            device = "cpu"
        return cls(
            path,
            spec["components"],
            spec["num_layers"],
            spec["head"],
            spec["dtype"],
            device,
            spec["elements"],
            trust=trust,
        )

    def __repr__(self) -> str:
        return (
            f"MACEDescriptor({str(self.model_file)!r}, components={self.settings['components']!r}, "
            f"num_layers={self.num_layers}, dtype={dtype_name(self.network.module)!r})"
        )
