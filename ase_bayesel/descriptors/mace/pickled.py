"""A pickled model read as inert objects: no class of the file is made, no code of it runs."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import serialization

from .internals import pickled_values

NAMES = re.compile(
    r"(mace\.modules|e3nn|torch\.nn)\.[\w.]+|torch\.(tanh|abs)"
    r"|torch\.fx\.(graph_module\.reduce_graph_module|_symbolic_trace\.Tracer)"
)
"""What a pickled MACE model refers to. Each becomes a kind of `PickledObject`, or a value."""
_ONE_AT_A_TIME = threading.Lock()  # torch keeps one list of names per process


class RefusedError(Exception):
    """A pickle refers to something that no MACE model needs."""


class PickledObject:
    """What a pickle says of one object: the name of its class, its arguments, its attributes."""

    __slots__ = ("__dict__", "args")
    args: tuple[Any, ...]
    path = ""

    def __new__(cls, *args: Any) -> PickledObject:
        self = super().__new__(cls)
        self.args = args
        return self

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedError(f"the state of a {self.path} is a {type(state).__name__}")
        self.__dict__.update(state)

    def __getattr__(self, name: str) -> Any:
        """Parameters, buffers and submodules, as a module has them."""
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in (entries := self.__dict__.get(kind, ())):
                return entries[name]
        raise AttributeError(name)

    def __iter__(self) -> Iterator[Any]:
        """The entries of a list of modules or of parameters."""
        return iter((self._modules or self._parameters).values())

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]


def read_pickled(content: bytes) -> Any:
    """What `torch.save` wrote, with a `PickledObject` for all but tensors and plain values.

    torch's own unpickler for weights does the work. It calls nothing but what is on its list,
    which here are its tensors, `pickled_values` and kinds of `PickledObject`.

    Raises
    ------
    RefusedError
        If the pickle refers to anything that is not in `NAMES`.
    Exception
        Whatever torch raises on a file that is damaged or of another format.
    """
    with _allowed({}):
        names = sorted(serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
        for name in names:
            if not NAMES.fullmatch(name):
                raise RefusedError(f"it refers to {name}, which no MACE model needs")
    values = pickled_values()
    with _allowed({name: values.get(name) or _kind(name) for name in names}):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _kind(path: str) -> type[PickledObject]:
    return type(path.rpartition(".")[2], (PickledObject,), {"path": path, "__slots__": ()})


@contextmanager
def _allowed(kinds: dict[str, type]) -> Iterator[None]:
    """Let torch's unpickler use these by these names, and nothing that was allowed elsewhere."""
    with _ONE_AT_A_TIME:
        before = serialization.get_safe_globals()
        serialization.clear_safe_globals()
        serialization.add_safe_globals([(kind, name) for name, kind in kinds.items()])
        try:
            yield
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(before)
