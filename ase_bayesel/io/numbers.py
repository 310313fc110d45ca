"""Numbers of a config are numbers: ``true`` is none, though Python takes it for 1."""

from __future__ import annotations

from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NUMBERS = ("int", "float")
UNSEEN = ("metadata", "serialization", "default")
"""Keys of a schema that hold no schema of what is validated."""


def without_booleans(schema: CoreSchema) -> CoreSchema:
    """The same schema, in which every number refuses truth values."""
    changed: CoreSchema = _changed(schema)
    return changed


def _changed(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(map(_changed, node))
    if not isinstance(node, dict):
        return node
    inner = {key: value if key in UNSEEN else _changed(value) for key, value in node.items()}
    if node.get("type") not in NUMBERS:
        return inner
    return core_schema.no_info_before_validator_function(no_boolean, inner)


def no_boolean(given: Any) -> Any:
    """What is given, unless that is a truth value."""
    if isinstance(given, bool):
        word = str(given).lower()
        raise PydanticCustomError("boolean", "expected a number, not {word}", {"word": word})
    return given
