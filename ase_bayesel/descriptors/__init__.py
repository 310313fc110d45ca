"""Descriptors: structures to feature rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import DescriptorError
from .base import Descriptor, Features, Gradient

__all__ = ["KINDS", "Descriptor", "Features", "Gradient", "descriptor_from_spec"]


def _ace(spec: Mapping[str, Any], trust: bool, n_features: int | None) -> Descriptor:
    from .ace import ACEDescriptor

    return ACEDescriptor.from_spec(spec, n_features)


def _mace(spec: Mapping[str, Any], trust: bool, n_features: int | None) -> Descriptor:
    from .mace import MACEDescriptor

    return MACEDescriptor.from_spec(spec, trust)


def _julip(spec: Mapping[str, Any], trust: bool, n_features: int | None) -> Descriptor:
    from .julip import JulipDescriptor

    return JulipDescriptor.from_spec(spec, n_features)


def _imported(spec: Mapping[str, Any], trust: bool, n_features: int | None) -> Descriptor:
    from .importing import imported_from_spec

    return imported_from_spec(spec, trust)


KINDS: Mapping[str, Callable[[Mapping[str, Any], bool, int | None], Descriptor]] = {
    "ace": _ace,
    "julip": _julip,
    "mace": _mace,
    "import": _imported,
}
"""By its ``kind``, what makes a descriptor from a spec as `descriptor_from_spec` does."""


def descriptor_from_spec(
    spec: Mapping[str, Any], trust: bool = False, n_features: int | None = None
) -> Descriptor:
    """The descriptor that a saved file describes by its ``kind``.

    ``trust`` allows what runs code of the file: to unpickle a model (`MACEDescriptor`), to import
    a factory. ``n_features`` are all that it may have, where the file says so beside it: what is
    larger is not built.

    Raises
    ------
    DescriptorError
        For another kind, or a model that is gone, changed or refused.
    """
    kind = spec.get("kind")
    make = KINDS.get(str(kind))
    if make is None:
        known = ", ".join(map(repr, KINDS))
        raise DescriptorError(f"kind: unknown descriptor {kind!r}; known: {known}")
    return make(spec, trust, n_features)
