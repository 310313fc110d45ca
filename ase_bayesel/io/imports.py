"""Code that a config or a command line names: ``package.module:name``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from .failures import is_failure, reason_of


def imported(target: str, field: str) -> Callable[..., Any]:
    """What ``package.module:name`` names; the name may be that of a method, ``Class.method``.

    Parameters
    ----------
    field
        The config's name for the target, for the error.

    Raises
    ------
    ConfigError
        If it cannot be imported.
    """
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except BaseException as error:  # importing a module runs it
        if not is_failure(error):
            raise
        why = str(error) if isinstance(error, ImportError | AttributeError) else reason_of(error)
        raise ConfigError(
            f"{field}: cannot import {target!r} ({why}); write it as package.module:callable"
        ) from error
    if not callable(found):
        raise ConfigError(f"{field}: {target!r} is no callable but {kind_of(found)}")
    return found  # type: ignore[no-any-return]


def kind_of(value: Any) -> str:
    """What an error calls a value of a wrong kind."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
