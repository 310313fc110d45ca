"""What the adapters share: models of a package without its chatter, inputs caught on their way."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import torch

from ...errors import DescriptorError
from ..torch.runtime import DTYPES


@contextmanager
def silent() -> Iterator[None]:
    """What a package prints and warns of while it makes a model is kept from the user."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def loading(model: object) -> Iterator[None]:
    """`silent`, and whatever a package raises is a `DescriptorError` that names the model."""
    with silent():
        try:
            yield
        except Exception as error:  # a download's, a file's, an unpickler's, an extension's
            raise DescriptorError(f"model: cannot load {str(model)!r} ({error})") from error


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of a name.

    Raises
    ------
    DescriptorError
        For another than ``float32`` and ``float64``.
    """
    if name not in DTYPES:
        raise DescriptorError(f"dtype: expected float32 or float64, got {name!r}")
    return DTYPES[name]


@contextmanager
def inputs_of(module: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """A list of what a module inside of a network is given, in the order of the calls."""
    inputs: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    try:
        yield inputs
    finally:
        handle.remove()
