"""Numba's compiler where it is installed; without it the same functions run as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...compiled import INSTALLED

RELAXED = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be reordered; infinite numbers and NaN stay what they are."""

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def jit(function: AnyFunction) -> AnyFunction:
    """The function, compiled at its first call and then kept on disk, beside its file."""
    if not INSTALLED:
        return function
    from numba import njit

    options: dict[str, Any] = {"fastmath": RELAXED, "error_model": "numpy"}
    try:
        result: AnyFunction = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for it can be written to
        result = njit(**options)(function)
    return result
