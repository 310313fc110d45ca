"""Descriptors: structures to feature rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DescriptorError
from .base import Descriptor, Features, Gradient

__all__ = ["Descriptor", "Features", "Gradient", "descriptor_from_spec"]


def descriptor_from_spec(spec: Mapping[str, Any], trust: bool = False) -> Descriptor:
    """The descriptor that a saved file describes by its ``kind``.

    ``trust`` is that of `MACEDescriptor`.

    Raises
    ------
    DescriptorError
        For another kind, or a model that is gone, changed or refused.
    """
    kind = spec.get("kind")
    if kind == "ace":
        from .ace import ACEDescriptor

        return ACEDescriptor.from_spec(spec)
    if kind == "mace":
        from .mace import MACEDescriptor

        return MACEDescriptor.from_spec(spec, trust)
    raise DescriptorError(f"kind: unknown descriptor {kind!r}; known: 'ace', 'mace'")
