"""A MACE model made anew from what its file says, instead of unpickling it.

mace-torch saves a whole module by pickle, with Python source (of `torch.fx`) and TorchScript in
it. Here mace's own constructor makes a model from the numbers and names that `records` reads, and
the model takes over the tensors of the file. Everything else in the file is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mace import modules
from mace.tools import scripts_utils

from .records import Record, RefusedError, read_records
from .runtime import MODEL_CLASSES, default_dtype

KINDS = {f"mace.modules.models.{name}": getattr(modules, name) for name in MODEL_CLASSES}
UNIT_SCALE = {"scale": torch.tensor(1.0), "shift": torch.tensor(0.0)}
NEGLIGIBLE = 1e-6
"""Relative difference of constants, such as normalisations, between two versions of a library."""


def rebuild(content: bytes) -> torch.nn.Module:
    """The model in the bytes of a file, in the dtype in which it was saved.

    Raises
    ------
    RefusedError
        If the file holds something else, or a model that comes out different.
    Exception
        What torch raises on a damaged file.
    """
    record = read_records(content)
    path = getattr(type(record), "path", type(record).__name__)
    if path not in KINDS:
        raise RefusedError(f"expected one of {MODEL_CLASSES}, found {path}")
    try:
        config = _config(record)
        with torch.random.fork_rng(devices=[]), default_dtype(record.r_max.dtype):
            module = KINDS[path](**config)
        _take_over(record, module, path.rpartition(".")[2])
        return module.train(record.training)
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"mace cannot make it again: {error!r}") from error


def _config(record: Record) -> dict[str, Any]:
    """Arguments of mace's constructor."""
    scaled = hasattr(record, "scale_shift")
    if not scaled:
        record = _as_scaled(record)
    config = scripts_utils.extract_config_mace_model(record)
    if "error" in config:
        raise RefusedError(config["error"])
    if not scaled:
        del config["atomic_inter_scale"], config["atomic_inter_shift"]
    for name in ("interaction_cls", "interaction_cls_first"):
        config[name] = _class(config[name], modules.interaction_classes)
    config["readout_cls"] = _class(config["readout_cls"], modules.readout_classes)
    gate = config["gate"]
    config["gate"] = None if gate is None else modules.gate_dict[gate.__name__]
    for name, value in config.items():
        if _holds_records(value):
            raise RefusedError(f"its {name} cannot be taken over")
    return config


def _as_scaled(record: Record) -> Record:
    """A `MACE` as mace's function wants it, which knows `ScaleShiftMACE` only."""
    scaled = type("ScaleShiftMACE", (Record,), {"path": record.path})()
    scaled.__setstate__(vars(record) | {"scale_shift": Record()})
    scaled.scale_shift.__setstate__(UNIT_SCALE)
    return scaled


def _class(kind: type, known: Mapping[str, type]) -> type:
    for real in known.values():
        if getattr(kind, "path", None) == f"{real.__module__}.{real.__qualname__}":
            return real
    raise RefusedError(f"{getattr(kind, 'path', kind)} is no class of this version of mace")


def _holds_records(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_records, value))
    if isinstance(value, dict):
        return any(map(_holds_records, value.values()))
    plain = (int, float, str, torch.Tensor, np.ndarray, type(None))
    return not isinstance(value, plain) and value not in _MADE_HERE


_MADE_HERE = {
    *modules.interaction_classes.values(),
    *modules.readout_classes.values(),
    *modules.gate_dict.values(),
}


def _take_over(record: Record, module: torch.nn.Module, where: str) -> None:
    """Tensors and numbers of a module and all within it; what does not agree is refused."""
    tensors = {**record._parameters, **record._buffers}
    for name, tensor in tensors.items():
        _take_tensor(module, name, tensor, f"{where}.{name}")
    for name, value in vars(record).items():
        if name.startswith("_") or name == "training" or not hasattr(module, name):
            continue
        if not _agree(value, getattr(module, name)):
            raise RefusedError(f"{where}.{name} is not that of a new model")
        if isinstance(value, float):
            setattr(module, name, value)
    for name, child in module.named_children():
        if name not in record._modules and list(child.parameters()):
            raise RefusedError(f"{where}.{name} is missing")
    for name, child in record._modules.items():
        own = module._modules.get(name)
        if own is None and child is not None:
            raise RefusedError(f"{where}.{name} is not in a new model")
        if own is not None and not isinstance(own, torch.fx.GraphModule):
            _take_over(child, own, f"{where}.{name}")
    if lost := [name for name in module._parameters if name not in record._parameters]:
        raise RefusedError(f"{where}: {', '.join(lost)} is missing")


def _take_tensor(module: torch.nn.Module, name: str, tensor: Any, where: str) -> None:
    own = getattr(module, name, None)
    if own is None and tensor is None:
        return
    if not isinstance(own, torch.Tensor) or not isinstance(tensor, torch.Tensor):
        raise RefusedError(f"{where} is not in a new model")
    if (own.shape, own.dtype, own.layout) != (tensor.shape, tensor.dtype, tensor.layout):
        raise RefusedError(f"{where} has another shape or type in a new model")
    own.data.copy_(tensor.data)
    own.requires_grad = tensor.requires_grad


def _agree(value: Any, own: Any) -> bool:
    """Whether what is data in a file's attribute is the same in that of a new module."""
    if isinstance(value, type):
        return value.__name__ == getattr(own, "__name__", None)
    if isinstance(value, Record):
        return not isinstance(own, tuple) or _agree(value.args, own)
    if isinstance(value, list | tuple):
        if not isinstance(own, list | tuple):
            return False
        first, second = list(iter(value)), list(iter(own))  # an Irrep refuses to tell its length
        return len(first) == len(second) and all(map(_agree, first, second))
    if isinstance(value, float) and isinstance(own, float):
        return math.isclose(value, own, rel_tol=NEGLIGIBLE)
    return not isinstance(value, bool | int | float | str | None) or value == own
