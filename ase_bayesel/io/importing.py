"""Code that a config names: what ``package.module:name`` or ``file.py:name`` stands for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from inspect import getfile
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigError
from .failures import is_failure, reason_of
from .hashing import bytes_hash, content_hash

SUFFIX = ".py"


def imported(target: str, field: str) -> Callable[..., Any]:
    """What a factory text names.

    Parameters
    ----------
    target
        ``package.module:name`` or ``path/to/file.py:name``; the name may have dots, as of a
        classmethod.
    field
        The config's name for the target, for the error.

    Raises
    ------
    ConfigError
        If it cannot be imported, or is no callable.
    """
    source, _, name = target.rpartition(":")
    try:
        file = module_file(target)
        found: Any = importlib.import_module(source) if file is None else _from_file(file)
        for part in name.split("."):
            found = getattr(found, part)
    except BaseException as error:  # importing a module runs it
        if not is_failure(error):
            raise
        why = str(error) if isinstance(error, ImportError | AttributeError) else reason_of(error)
        raise ConfigError(
            f"{field}: cannot import {target!r} ({why}); write it as package.module:callable, or "
            "path/to/file.py:callable"
        ) from error
    if not callable(found):
        raise ConfigError(f"{field}: {target!r} is no callable but {kind_of(found)}")
    return found  # type: ignore[no-any-return]


def called(target: str, field: str, given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What a factory returns.

    Parameters
    ----------
    target, field
        As of `imported`.
    given, named
        Its positional and its keyword arguments.

    Raises
    ------
    ConfigError
        As `imported`, and if the factory fails, with its reason.
    """
    factory = imported(target, field)
    try:
        return factory(*given, **named)
    except BaseException as error:  # it may raise anything
        if not is_failure(error):
            raise
        section = field.rpartition(".")[0]
        raise ConfigError(
            f"{field}: {target!r} fails with these parameters "
            f"({reason_of(error)}; {section}.parameters, {section}.model)"
        ) from error


def module_file(target: str) -> Path | None:
    """The file of a factory that is named by its file; None for one of an installed module."""
    source = target.rpartition(":")[0]
    return Path(source) if source.endswith(SUFFIX) else None


def factory_identity(target: str) -> dict[str, str]:
    """What a factory is, wherever its file lies: its name, and the content of its file.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    file = module_file(target)
    if file is None:
        return {"factory": target}
    name = target.rpartition(":")[2]
    return {"factory": f"{file.name}:{name}", "module": content_hash(file)}


def code_of(value: object, package: str) -> list[str]:
    """Content of the files that define a value's classes, but for those of a package and Python's.

    Parameters
    ----------
    value
        An instance.
    package
        Name of the package that is not looked at.

    Raises
    ------
    OSError, TypeError
        If a class has no file.
    """
    known = {package, "abc", "builtins", "typing"}
    classes = [kind for kind in type(value).__mro__ if kind.__module__.split(".")[0] not in known]
    return [content_hash(Path(getfile(kind))) for kind in classes]


def kind_of(value: Any) -> str:
    """A value in words, for an error."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


class _Source(SourceFileLoader):
    """Keeps no bytecode: edits within the same second are told apart, and no folder is written."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError


def _from_file(path: Path) -> ModuleType:
    """The module of a file, anew where its content has changed.

    Files of one name in several folders are several modules. What it imports from its own folder
    is found while it is imported, after what is installed.
    """
    path = path.resolve()
    name = f"{path.stem}_{bytes_hash(bytes(path) + path.read_bytes())[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _Source(name, str(path))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with _searched(str(path.parent)):
            loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _searched(folder: str) -> Iterator[None]:
    """Look for modules in a folder too, last of all."""
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
