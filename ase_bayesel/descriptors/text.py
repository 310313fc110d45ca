"""A descriptor in one word, as the command line takes it."""

from __future__ import annotations

from typing import Any

from ..errors import DescriptorError
from .base import Descriptor

ACE_FIELDS = {"elements": str, "order": int, "totaldegree": int, "cutoff": float}
FORMS = "ace:Si+O,3,12,5.0, ace:elements=Si+O,order=3,totaldegree=12,cutoff=5.0 or mace:FILE"


def descriptor_from_text(text: str, trust: bool = False) -> Descriptor:
    """The descriptor that a word describes.

    ``ace:`` and elements, order, totaldegree and cutoff (A), in this order or as key=value,
    those left out as in `ACEDescriptor`; several elements are joined by +. ``mace:`` and the path
    of a model or the name of a foundation model, with the ``trust`` of `MACEDescriptor`.

    Raises
    ------
    DescriptorError
        If the word is none of these.
    """
    kind, _, rest = text.partition(":")
    if kind == "ace" and rest:
        from .ace import ACEDescriptor

        return ACEDescriptor(**_ace_arguments(text, rest))
    if kind == "mace" and rest:
        from .mace import MACEDescriptor

        return MACEDescriptor(rest, trust=trust)
    raise DescriptorError(f"descriptor: cannot read {text!r}; expected {FORMS}")


def _ace_arguments(text: str, rest: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    words = [word.strip() for word in rest.split(",")]
    if len(words) > len(ACE_FIELDS):
        raise DescriptorError(f"descriptor: {text!r} has too many values; expected {FORMS}")
    for place, word in zip(ACE_FIELDS, words, strict=False):
        key, equals, value = word.partition("=")
        name, value = (key, value) if equals else (place, word)
        if name not in ACE_FIELDS or name in arguments:
            raise DescriptorError(
                f"descriptor: {name!r} in {text!r} is unknown or given twice; expected {FORMS}"
            )
        try:
            arguments[name] = ACE_FIELDS[name](value)
        except ValueError as error:
            raise DescriptorError(f"descriptor: {name} in {text!r}: {error}") from None
    if "elements" not in arguments:
        raise DescriptorError(f"descriptor: {text!r} names no elements; expected {FORMS}")
    return arguments | {"elements": arguments["elements"].split("+")}
