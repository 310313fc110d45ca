"""A descriptor in one word, as the command line takes it."""

from __future__ import annotations

import json
import re
from typing import Any

from ase.data import chemical_symbols

from ..errors import DescriptorError
from ..io.fields import FACTORY
from .base import Descriptor
from .importing import imported_descriptor

ACE_FIELDS = {
    "elements": str,
    "order": int,
    "totaldegree": int,
    "cutoff": float,
    "embedding": int,
}
FORMS = (
    "ace:Si+O,3,12,5.0, ace:elements=Si+O,order=3,totaldegree=12,cutoff=5.0, mace:FILE or "
    "import:package.module:callable,model=FILE"
)


def descriptor_from_text(text: str, trust: bool = False) -> Descriptor:
    """The descriptor that a word describes.

    ``ace:`` and elements, order, totaldegree, cutoff (A) and embedding (a number of channels), in
    this order or as key=value, those left out as in `ACEDescriptor`; several elements are joined
    by +. ``mace:`` and the path of a model or the name of a foundation model, with the ``trust``
    of `MACEDescriptor`.
    ``import:`` and the factory of `imported_descriptor` with its parameters as key=value,
    ``model=FILE`` among them; numbers, true, false and null are what they are in JSON.

    Raises
    ------
    BayeselError
        If the word is none of these, or the descriptor cannot be made.
    """
    kind, _, rest = text.partition(":")
    if kind == "ace" and rest:
        from .ace import ACEDescriptor

        return ACEDescriptor(**_ace_arguments(text, rest))
    if kind == "mace" and rest:
        from .mace import MACEDescriptor

        return MACEDescriptor(rest, trust=trust)
    factory, *words = rest.split(",")
    if kind == "import" and re.fullmatch(FACTORY, factory):
        parameters = dict(_parameter(text, word) for word in words)
        return imported_descriptor(factory, parameters, parameters.pop("model", None))
    raise DescriptorError(f"descriptor: cannot read {text!r}; expected {FORMS}")


def _parameter(text: str, word: str) -> tuple[str, Any]:
    key, equals, value = word.strip().partition("=")
    if not equals:
        raise DescriptorError(f"descriptor: {word!r} in {text!r} is not key=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


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
    elements = arguments["elements"].split("+")
    for word in elements:
        parts = re.findall("[A-Z][a-z]?", word)
        joined = len(parts) > 1 and "".join(parts) == word and {*parts} <= {*chemical_symbols}
        if joined and word not in chemical_symbols:
            raise DescriptorError(
                f"descriptor: elements in {text!r}: {word!r} is no element; did you mean "
                f"{'+'.join(parts)}?"
            )
    return arguments | {"elements": elements}
