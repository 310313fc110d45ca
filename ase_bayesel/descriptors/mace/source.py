"""Where a MACE descriptor's model comes from: a file, a name, or a calculator."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, chemical_symbols

from ...errors import DescriptorError
from ..torch.runtime import DTYPES, dtype_name, quiet
from ..torch.weights import frozen
from .internals import (
    ARRAYS_KEYS,
    INFO_KEYS,
    import_mace,
    is_mace_calculator,
    model_parts,
    product_parts,
)
from .loading import check_module, chosen_head, load_module, locate, weights_sha256
from .network import Network


@dataclass(frozen=True)
class Source:
    """A model and what came with it."""

    module: torch.nn.Module
    file: Path | None
    head: str | None
    device: torch.device
    info_keys: Mapping[str, str]
    arrays_keys: Mapping[str, str]


def from_file(model: str | PathLike, trust: bool = False) -> Source:
    """The model behind a path or the name of a foundation model."""
    path = locate(model)
    return Source(load_module(path, trust), path, None, torch.device("cpu"), INFO_KEYS, ARRAYS_KEYS)


def from_calculator(calculator: Calculator) -> Source:
    """The model of a MACECalculator, not copied."""
    if not is_mace_calculator(calculator):
        raise DescriptorError(
            f"model: expected a MACECalculator or a path, got {type(calculator).__name__}"
        )
    if len(calculator.models) != 1:
        raise DescriptorError(f"model: a committee of {len(calculator.models)} has no one feature")
    module = calculator.models[0]
    check_module(module, "model of the calculator")
    arrays_keys = {**calculator.arrays_keys, calculator.charges_key: "charges"}
    return Source(
        module, None, calculator.head, calculator.device, calculator.info_keys, arrays_keys
    )


def build_network(
    source: Source, head: str | None, dtype: str | None, device: str | None
) -> Network:
    """The model on its device and in its dtype; a calculator's is copied if it must change.

    Parameters
    ----------
    source
        The model and what came with it.
    head, dtype, device
        As in `MACEDescriptor`; None for what the source has.

    Raises
    ------
    DescriptorError
        If there is no such head or device.
    """
    module = source.module
    target = source.device if device is None else torch.device(device)
    if target.type == "cuda" and not torch.cuda.is_available():
        raise DescriptorError("device: no CUDA device is available")
    there = torch.empty(0, device=target).device  # "cuda" becomes "cuda:0"
    moved = next(module.parameters()).device != there
    if source.file is None and (moved or dtype not in (None, dtype_name(module))):
        with quiet():
            module = copy.deepcopy(module)
    with quiet():
        module = frozen(module.to(target, DTYPES[dtype or dtype_name(module)]))
    chosen = chosen_head(module, source.head if head is None else head)
    return Network(module, import_mace(), chosen, target, source.info_keys, source.arrays_keys)


def check_file(module: torch.nn.Module, path: Path, trust: bool = False) -> None:
    """Make sure that a file holds the same weights as a calculator's model."""
    stored = load_module(path, trust).to(next(module.parameters()).dtype)
    if weights_sha256(stored) != weights_sha256(module):
        raise DescriptorError(f"{path}: holds another model than the calculator")


def numbers_of(elements: Sequence[str]) -> list[int]:
    """Atomic numbers of chemical symbols."""
    unknown = [symbol for symbol in elements if symbol not in chemical_symbols[1:]]
    if unknown or isinstance(elements, str) or not elements:
        raise DescriptorError(f"elements: expected chemical symbols, got {elements!r}")
    return sorted({atomic_numbers[symbol] for symbol in elements})


def layer_columns(module: torch.nn.Module, components: str) -> list[list[int]]:
    """Columns of the concatenated node features that each layer contributes."""
    start = 0
    layers: list[list[int]] = []
    for product in model_parts(module).products:
        irreps = product_parts(product).linear.irreps_out
        kept: list[int] = []
        for block, part in zip(irreps, irreps.slices(), strict=True):
            if components == "all" or (block.ir.l == 0 and block.ir.p == 1):
                kept += range(start + part.start, start + part.stop)
        layers.append(kept)
        start += irreps.dim
    return layers
