"""A MACE model made anew from what its file says, instead of unpickling it.

mace-torch saves a whole module by pickle, with Python source (of `torch.fx`) and TorchScript in
it. Here mace's own constructor makes a model from the numbers and names that `pickled` reads, and
the model takes over the tensors of the file. Everything else in the file is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch

from ..torch.runtime import default_dtype
from .internals import MODEL_CLASSES, MODEL_PATH, MACENames, import_mace
from .notations import LINEAR_PATH, NO_LONGER_KEPT, as_written_now, plain_number, weight_layout
from .pickled import PickledObject, RefusedError, read_pickled

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
    mace = import_mace()
    classes = {f"{MODEL_PATH}.{name}": kind for name, kind in mace.model_classes.items()}
    pickled = read_pickled(content)
    path = getattr(type(pickled), "path", type(pickled).__name__)
    if path not in classes:
        raise RefusedError(f"expected one of {MODEL_CLASSES}, found {path}")
    try:
        config = _config(pickled, mace)
        with torch.random.fork_rng(devices=[]), default_dtype(pickled.r_max.dtype):
            module = classes[path](**config)
        _take_over(pickled, module, path.rpartition(".")[2])
        return module.train(pickled.training)
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"mace cannot make it again: {error!r}") from error


def _config(pickled: PickledObject, mace: MACENames) -> dict[str, Any]:
    """Arguments of mace's constructor."""
    scaled = hasattr(pickled, "scale_shift")
    if not scaled:
        pickled = _as_scaled(pickled)
    config = mace.extract_config(pickled)
    if "error" in config:
        raise RefusedError(config["error"])
    if not scaled:
        del config["atomic_inter_scale"], config["atomic_inter_shift"]
    for name in ("interaction_cls", "interaction_cls_first"):
        config[name] = _class(config[name], mace.interaction_classes)
    config["avg_num_neighbors"] = plain_number(config["avg_num_neighbors"])
    config["readout_cls"] = _class(config["readout_cls"], mace.readout_classes)
    gate = config["gate"]
    config["gate"] = None if gate is None else mace.gates[gate.__name__]
    made_here = {
        *mace.interaction_classes.values(),
        *mace.readout_classes.values(),
        *mace.gates.values(),
    }
    for name, value in config.items():
        if _holds_pickled(value, made_here):
            raise RefusedError(f"its {name} cannot be taken over")
    return config


def _as_scaled(pickled: PickledObject) -> PickledObject:
    """A `MACE` as mace's function wants it, which knows `ScaleShiftMACE` only."""
    scaled = type("ScaleShiftMACE", (PickledObject,), {"path": pickled.path})()
    scaled.__setstate__(vars(pickled) | {"scale_shift": PickledObject()})
    scaled.scale_shift.__setstate__(UNIT_SCALE)
    return scaled


def _class(kind: type, known: Mapping[str, type]) -> type:
    for real in known.values():
        if getattr(kind, "path", None) == f"{real.__module__}.{real.__qualname__}":
            return real
    raise RefusedError(f"{getattr(kind, 'path', kind)} is no class of this version of mace")


def _holds_pickled(value: Any, made_here: Set[Any]) -> bool:
    """Whether anything in a value is neither plain data nor a class of the installed mace."""
    if isinstance(value, list | tuple):
        return any(_holds_pickled(entry, made_here) for entry in value)
    if isinstance(value, dict):
        return any(_holds_pickled(entry, made_here) for entry in value.values())
    plain = (int, float, str, torch.Tensor, np.ndarray, type(None))
    return not isinstance(value, plain) and value not in made_here


def _take_over(pickled: PickledObject, module: torch.nn.Module, where: str) -> None:
    """Tensors and numbers of a module and all within it; what does not agree is refused."""
    gone = NO_LONGER_KEPT.get(type(pickled).path, ())
    tensors = {**pickled._parameters, **pickled._buffers}
    for name, tensor in tensors.items():
        if name not in gone:
            _take_tensor(module, name, tensor, f"{where}.{name}")
    for name, value in vars(pickled).items():
        if name.startswith("_") or name == "training" or not hasattr(module, name):
            continue
        value, new = plain_number(value), plain_number(getattr(module, name))
        if not _agree(value, new) and not _same_layout(pickled, module, name):
            raise RefusedError(f"{where}.{name} is not that of a new model")
        if isinstance(value, float):
            setattr(module, name, value)
    for name, child in module.named_children():
        if name not in pickled._modules and list(child.parameters()):
            raise RefusedError(f"{where}.{name} is missing")
    for name, child in pickled._modules.items():
        new = module._modules.get(name)
        if new is None and child is not None and name not in gone:
            raise RefusedError(f"{where}.{name} is not in a new model")
        if new is not None and not isinstance(new, torch.fx.GraphModule):
            _take_over(child, new, f"{where}.{name}")
    if lost := [name for name in module._parameters if name not in pickled._parameters]:
        raise RefusedError(f"{where}: {', '.join(lost)} is missing")


def _take_tensor(module: torch.nn.Module, name: str, tensor: Any, where: str) -> None:
    new = getattr(module, name, None)
    if new is None and tensor is None:
        return
    if not isinstance(new, torch.Tensor) or not isinstance(tensor, torch.Tensor):
        raise RefusedError(f"{where} is not in a new model")
    tensor = as_written_now(tensor, new)
    if (new.shape, new.dtype, new.layout) != (tensor.shape, tensor.dtype, tensor.layout):
        raise RefusedError(f"{where} has another shape or type in a new model")
    new.data.copy_(tensor.data)
    new.requires_grad = tensor.requires_grad


def _same_layout(pickled: PickledObject, module: torch.nn.Module, name: str) -> bool:
    """Whether a linear map differs in nothing but the notation of its input."""
    if type(pickled).path != LINEAR_PATH:
        return False
    old, new = weight_layout(pickled), weight_layout(module)
    return name in old and all(_agree(old[key], new[key]) for key in old)


def _agree(value: Any, new: Any) -> bool:
    """Whether what is data in a file's attribute is the same in that of a new module."""
    if isinstance(value, type):
        return value.__name__ == getattr(new, "__name__", None)
    if isinstance(value, PickledObject):
        return not isinstance(new, tuple) or _agree(value.args, new)
    if isinstance(value, list | tuple):
        if not isinstance(new, list | tuple):
            return False
        first, second = list(iter(value)), list(iter(new))  # an Irrep refuses to tell its length
        return len(first) == len(second) and all(map(_agree, first, second))
    if isinstance(value, float) and isinstance(new, float):
        return math.isclose(value, new, rel_tol=NEGLIGIBLE)
    return not isinstance(value, bool | int | float | str | None) or value == new
