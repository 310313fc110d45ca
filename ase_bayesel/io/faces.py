"""Faces of packages whose names are imported when they are first used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that imports its public names when they are first used.

    Parameters
    ----------
    package
        Its ``__name__``.
    places
        The module of each name, relative to the package: ``{"read_frames": ".frames"}``.

    Returns
    -------
    callable
        Gives the value of a name; raises AttributeError for one that is not there.
    """

    def value_of(name: str) -> Any:
        if name in places:
            return getattr(import_module(places[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return value_of
