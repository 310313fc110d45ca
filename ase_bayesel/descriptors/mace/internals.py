"""All that this package takes from mace-torch and e3nn beyond their documented interface.

Imports from both packages, and the attributes of mace's models, blocks and calculator that are
read or replaced, are named here and nowhere else. tests/descriptors/test_mace_internals.py
compares each with the installed version and says what is missing. What earlier releases wrote in
their files in another way is in `notations`. Known to fit: mace-torch 0.3.14 to 0.3.16.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeGuard, cast

import numpy as np
import torch
from ase.calculators.calculator import Calculator

from ...errors import DescriptorError
from ..torch.runtime import quiet

MODEL_CLASSES = ("MACE", "ScaleShiftMACE")
MODEL_PATH = "mace.modules.models"
"""Module of these classes, as a pickle names it."""
EMPTY_WEIGHTS = "mace.modules.symmetric_contraction.EmptyParam"
"""What a pickle calls a weight of a contraction that holds no numbers."""
IRREPS_PATH = "e3nn.o3._irreps"
IRREPS_CLASSES = ("Irrep", "_MulIr", "Irreps")
"""Classes of e3nn in a pickled model that are no more than tuples of integers."""
LEAN_INTERACTIONS = (
    "RealAgnosticInteractionBlock",
    "RealAgnosticResidualInteractionBlock",
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
"""Interaction blocks that use the radial weights for nothing but the convolution."""
EDGES_TO_CONVOLUTION = "conv_fusion"
"""An interaction block with this attribute hands the edges over to its ``conv_tp``."""
INFO_KEYS = {"total_spin": "spin", "total_charge": "charge", "external_field": "external_field"}
ARRAYS_KEYS = {"Qs": "charges"}
"""Where `MACECalculator` by default finds further inputs of a model."""


@dataclass(frozen=True)
class MACENames:
    """What is imported from mace-torch, and one function of e3nn.

    Attributes
    ----------
    calculator
        `mace.calculators.MACECalculator`.
    foundations
        The module with the addresses of named models, their cache and their download.
    model_classes, interaction_classes, readout_classes, gates
        mace's classes and activation functions by name.
    extract_config
        Constructor arguments of a model.
    load_elements
        Copies the weights of some elements from one model to a smaller one.
    parser
        Makes the argument parser of mace's training command.
    get_neighborhood
        Edges of a structure.
    KeySpecification, config_from_atoms, AtomicData, Batch, ElementTable
        From structures to a batch of graphs, for models that take further inputs.
    wigner_3j
        Clebsch-Gordan couplings of e3nn.
    """

    calculator: Callable[..., Calculator]
    foundations: ModuleType
    model_classes: Mapping[str, type[torch.nn.Module]]
    interaction_classes: Mapping[str, type]
    readout_classes: Mapping[str, type]
    gates: Mapping[str, Any]
    extract_config: Callable[[Any], dict[str, Any]]
    load_elements: Callable[..., Any]
    parser: Callable[[], Any]
    get_neighborhood: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    KeySpecification: Callable[..., Any]
    config_from_atoms: Callable[..., Any]
    AtomicData: Any
    Batch: Any
    ElementTable: Callable[[Sequence[int]], Any]
    wigner_3j: Callable[..., torch.Tensor]


def import_mace() -> MACENames:
    """The parts of mace-torch that this package calls.

    Raises
    ------
    DescriptorError
        If mace-torch is not installed, or lacks one of them.
    """
    torch.serialization.add_safe_globals([slice])  # e3nn loads a file of constants on import
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):  # mace prints what it lacks
            from e3nn.o3 import wigner_3j
            from mace import modules
            from mace.calculators import MACECalculator, foundations_models
            from mace.data import AtomicData, KeySpecification, config_from_atoms
            from mace.data.neighborhood import get_neighborhood
            from mace.modules import gate_dict, interaction_classes, readout_classes
            from mace.tools.arg_parser import build_default_arg_parser
            from mace.tools.finetuning_utils import load_foundations_elements
            from mace.tools.scripts_utils import extract_config_mace_model
            from mace.tools.torch_geometric import Batch
            from mace.tools.utils import AtomicNumberTable

            model_classes = {name: getattr(modules, name) for name in MODEL_CLASSES}
    except (ImportError, AttributeError) as error:
        raise DescriptorError(
            f"MACE features need mace-torch ({error}); install it by pip install ase_bayesel[mace]"
        ) from error
    return MACENames(
        calculator=MACECalculator,
        foundations=foundations_models,
        model_classes=model_classes,
        interaction_classes=interaction_classes,
        readout_classes=readout_classes,
        gates=gate_dict,
        extract_config=extract_config_mace_model,
        load_elements=load_foundations_elements,
        parser=build_default_arg_parser,
        get_neighborhood=get_neighborhood,
        KeySpecification=KeySpecification,
        config_from_atoms=config_from_atoms,
        AtomicData=AtomicData,
        Batch=Batch,
        ElementTable=AtomicNumberTable,
        wigner_3j=wigner_3j,
    )


def pickled_values() -> dict[str, type]:
    """What becomes a plain value when a pickled model is read: irreps, and empty tensors."""
    from e3nn.o3 import _irreps

    classes = {f"{IRREPS_PATH}.{name}": vars(_irreps)[name] for name in IRREPS_CLASSES}
    return classes | {EMPTY_WEIGHTS: torch.nn.Parameter}


class Irrep(Protocol):
    """An irreducible representation: degree l, parity p and dimension 2 l + 1."""

    l: int  # noqa: E741
    p: int
    dim: int


class MulIrrep(Protocol):
    """``mul`` copies of one irreducible representation."""

    mul: int
    ir: Irrep


class Irreps(Protocol):
    """A representation as a sequence of irreducible ones."""

    dim: int
    lmax: int

    def slices(self) -> list[slice]:
        """Columns of each entry."""
        ...

    def __iter__(self) -> Iterator[MulIrrep]: ...

    def __getitem__(self, index: int) -> MulIrrep: ...

    def __len__(self) -> int: ...


class Instruction(Protocol):
    """One path of a tensor product."""

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: str
    has_weight: bool
    path_weight: float


class TensorProduct(Protocol):
    """e3nn's tensor product of node features and spherical harmonics."""

    irreps_in1: Irreps
    irreps_in2: Irreps
    irreps_out: Irreps
    instructions: Sequence[Instruction]
    shared_weights: bool


class Activation(Protocol):
    """e3nn's normalised activation: the function and its factor."""

    f: Callable[[torch.Tensor], torch.Tensor]
    cst: float


class RadialLayer(Protocol):
    """One layer of e3nn's fully connected network; the last has no activation."""

    weight: torch.Tensor
    h_in: float
    var_in: float
    var_out: float
    act: Any


class Contraction(Protocol):
    """One output representation of mace's symmetric contraction."""

    weights: Sequence[torch.Tensor]
    weights_max: torch.Tensor

    def U_tensors(self, nu: int) -> torch.Tensor:
        """Couplings of degree ``nu``, ``(w, V, ..., V, K)``, without w where it is 1."""
        ...


class SymmetricContraction(Protocol):
    """mace's symmetric contraction."""

    contractions: Sequence[Contraction]


class Linear(Protocol):
    """The linear map at the end of a product block."""

    irreps_out: Irreps


class InteractionBlock(Protocol):
    """An interaction of mace: a convolution over the edges with radial weights."""

    conv_tp: TensorProduct
    conv_tp_weights: torch.nn.Module
    avg_num_neighbors: float


class ProductBlock(Protocol):
    """A product basis of mace; what leaves its ``linear`` are the node features."""

    symmetric_contractions: SymmetricContraction
    linear: Linear


class AtomicEnergies(Protocol):
    """Reference energies of a model, eV: ``(heads, elements)``, or flat for one head."""

    atomic_energies: torch.Tensor


class Model(Protocol):
    """A MACE energy model; ``heads`` may be missing in older files."""

    interactions: torch.nn.ModuleList
    products: torch.nn.ModuleList
    atomic_energies_fn: AtomicEnergies
    atomic_numbers: torch.Tensor
    r_max: torch.Tensor


class ModelCalculator(Protocol):
    """mace's own ASE calculator."""

    models: Sequence[torch.nn.Module]
    head: str
    device: torch.device
    info_keys: Mapping[str, str]
    arrays_keys: Mapping[str, str]
    charges_key: str
    use_compile: bool
    energy_units_to_eV: float
    length_units_to_A: float


def is_mace_calculator(calculator: Calculator) -> TypeGuard[ModelCalculator]:
    """Whether a calculator is mace's own; decided without importing mace."""
    return any(
        base.__name__ == "MACECalculator" and base.__module__.split(".")[0] == "mace"
        for base in type(calculator).__mro__
    )


def interaction_parts(block: torch.nn.Module) -> InteractionBlock:
    """An interaction block by its parts."""
    return cast(InteractionBlock, block)


def product_parts(block: torch.nn.Module) -> ProductBlock:
    """A product block by its parts."""
    return cast(ProductBlock, block)


def radial_layers(network: torch.nn.Module) -> list[RadialLayer]:
    """The layers of e3nn's fully connected network."""
    return cast(list[RadialLayer], list(network.children()))


def model_parts(module: torch.nn.Module) -> Model:
    """A model by its parts."""
    return cast(Model, module)


def known_numbers(module: torch.nn.Module) -> list[int]:
    """Atomic numbers that a model knows, in its order."""
    return [int(number) for number in model_parts(module).atomic_numbers]


def further_inputs(module: torch.nn.Module) -> tuple[str, ...]:
    """What a model reads beyond elements, positions and cell, by mace's names."""
    return tuple(getattr(module, "embedding_specs", None) or ())


def cutoff_of(module: torch.nn.Module) -> float:
    """Cutoff radius of a model, A."""
    return float(model_parts(module).r_max)


def heads_of(module: torch.nn.Module) -> list[str]:
    """Names of a model's heads."""
    return list(getattr(module, "heads", None) or ["Default"])


def atomic_energies_of(module: torch.nn.Module) -> torch.Tensor:
    """Reference energies ``(heads, elements)`` that a model holds, eV, on the CPU."""
    energies = model_parts(module).atomic_energies_fn.atomic_energies
    return energies.detach().cpu().reshape(len(heads_of(module)), -1)


class ModelOutput(NamedTuple):
    """What one pass over a batch gives: energies (eV), node features, and the strain leaf."""

    energy: torch.Tensor
    node_features: torch.Tensor
    displacement: torch.Tensor


def run_model(module: torch.nn.Module, graphs: dict[str, torch.Tensor]) -> ModelOutput:
    """One pass of a model without its own backward passes; ``graphs`` is used up."""
    out = module(graphs, compute_force=False, compute_displacement=True)
    return ModelOutput(out["energy"], out["node_feats"], out["displacement"])
