"""Descriptors from any package: a callable that a config, a word or a saved surrogate names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from ase.calculators.calculator import Calculator

from ..errors import ConfigError, DescriptorError
from ..io.importing import called, kind_of
from .base import Descriptor, PotentialDescriptor

PLACES = ("model", "device", "factory", "parameters")
"""Keys of a spec that say where a descriptor comes from, not which features it has."""


@dataclass(frozen=True)
class Origin:
    """What a descriptor was made by: a callable ``package.module:name``, called with these."""

    factory: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


def imported_descriptor(
    factory: str,
    parameters: Mapping[str, Any] | None = None,
    model: str | PathLike | None = None,
    where: str = "descriptor",
) -> Descriptor:
    """The descriptor that a callable returns; this imports and runs code.

    Parameters
    ----------
    factory
        ``package.module:callable``: a class, a function, or a method as ``Class.method``.
    parameters
        Its keywords.
    model
        A model file, which it gets as ``model=<path>``.
    where
        What an error calls the section with ``factory`` and ``parameters``.

    Raises
    ------
    ConfigError
        If it cannot be imported, fails, or returns no descriptor.
    """
    from .torch.descriptor import TorchDescriptor

    origin = Origin(factory, dict(parameters or {}), None if model is None else str(model))
    file = {} if model is None else {"model": origin.model}
    made = called(factory, f"{where}.factory", (), {**file, **origin.parameters})
    if isinstance(made, type) or not isinstance(made, Descriptor):
        raise ConfigError(f"{where}.factory: {factory!r} returns no descriptor but {kind_of(made)}")
    if isinstance(made, TorchDescriptor):
        made.origin = origin
    return made


def calculator_of(
    factory: str, parameters: Mapping[str, Any] | None = None, model: str | PathLike | None = None
) -> Calculator:
    """The energies of an imported descriptor's own model; arguments as of `imported_descriptor`.

    Raises
    ------
    ConfigError
        As `imported_descriptor` and `own_calculator`.
    """
    return own_calculator(imported_descriptor(factory, parameters, model))


def own_calculator(descriptor: Descriptor) -> Calculator:
    """The energies of a descriptor's own model.

    Raises
    ------
    ConfigError
        If it has features only.
    """
    if not isinstance(descriptor, PotentialDescriptor):
        raise ConfigError(
            f"potential: kind descriptor needs a descriptor with calculator(), and {descriptor} "
            "has features only"
        )
    return descriptor.calculator()


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys by which the specs of two descriptors differ, beside their `PLACES`."""
    keys = (one.keys() | other.keys()).difference(PLACES)
    return sorted(key for key in keys if one.get(key) != other.get(key))


def imported_from_spec(spec: Mapping[str, Any], trust: bool) -> Descriptor:
    """The descriptor of a saved file, whose factory is imported only for those who ``trust`` it.

    Raises
    ------
    DescriptorError
        If it is not trusted, if nothing is known to make it by, or if what is made has other
        weights or settings than what was saved.
    """
    factory, ask = spec["factory"], "give the descriptor itself, Surrogate.load(path, descriptor)"
    if factory is None:
        raise DescriptorError(f"the descriptor {spec['adapter']} was made by hand; {ask}")
    if not trust:
        raise DescriptorError(
            f"the descriptor is made by {factory!r}, whose code would be imported and run; {ask}, "
            "or trust=True (--trust)"
        )
    made = imported_descriptor(factory, spec["parameters"], spec["model"])
    if changed := differing(made.spec(), spec):
        raise DescriptorError(
            f"{factory!r} makes another descriptor than the saved one: other {', '.join(changed)}"
        )
    return made
