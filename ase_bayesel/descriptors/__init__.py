"""Descriptors: structures to feature rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DescriptorError
from .base import Descriptor, Features, Gradient

__all__ = ["Descriptor", "Features", "Gradient", "descriptor_from_spec"]


def descriptor_from_spec(
    spec: Mapping[str, Any], trust: bool = False, n_features: int | None = None
) -> Descriptor:
    """The descriptor that a saved file describes by its ``kind``.

    ``trust`` is that of `MACEDescriptor`; ``n_features`` are all that it may have, where the file
    says so beside it: what is larger is not built.

    Raises
    ------
    DescriptorError
        For another kind, or a model that is gone, changed or refused.
    """
    kind = spec.get("kind")
    if kind == "ace":
        from .ace import ACEDescriptor

        return ACEDescriptor.from_spec(spec, n_features)
    if kind == "mace":
        from .mace import MACEDescriptor

        return MACEDescriptor.from_spec(spec, trust)
    if kind == "julip":
        from .julip import JulipDescriptor

        return JulipDescriptor.from_spec(spec, n_features)
    raise DescriptorError(f"kind: unknown descriptor {kind!r}; known: 'ace', 'julip', 'mace'")
