"""The JSON schema of a config, from the same annotations that validate it: for editors and docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from docstring_parser import Docstring, DocstringStyle, parse
from pydantic import BaseModel, BeforeValidator, PlainValidator, TypeAdapter, WithJsonSchema
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from .fields import FLAT, REQUIRED, NumberOrWord, ValueOrMapping
from .kinds import VALUE, OneOf, config_fields, kinds_of, marks_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ANYTHING: Mapping[str, Any] = {}
SHORT: Mapping[str, Any] = {"type": ["number", "string", "array"]}
"""What code may take for a mapping, a number of channels for an embedding, say."""


def json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """What a config of this model may hold.

    What code alone checks may hold anything here, so what is valid by the schema may still be
    refused. What it refuses is not valid, but for numbers that are written as text.

    Parameters
    ----------
    model
        The class of the config.
    title
        What the schema says that it describes.
    """
    writer = _Writer()
    top = writer.model(model)
    return {"$schema": DIALECT, "title": title, **top, "$defs": writer.definitions}


class _Writer:
    """Collects the definition of each class under its name."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def model(self, cls: type[BaseModel]) -> dict[str, Any]:
        """A section."""
        told, properties, required = described(cls), {}, []
        for name, field in cls.model_fields.items():
            hint = _annotated(field.annotation, field.metadata)
            default = MISSING if field.is_required() else field.get_default()
            properties[name] = self._entry(hint, default, told.get(name))
            if field.is_required():
                required.append(name)
        return self._object(cls, properties, required)

    def dataclass(self, cls: type, kind: str | None = None) -> dict[str, Any]:
        """A class that is chosen by its kind, or the only one that there may be."""
        properties: dict[str, Any] = {} if kind is None else {"kind": {"const": kind}}
        required: list[str] = []
        self._fill(cls, properties, required)
        if kind is not None:
            properties["kind"] = {"const": kind}
        return self._object(cls, properties, [name for name in required if name != "kind"])

    def _fill(self, cls: type, properties: dict[str, Any], required: list[str]) -> None:
        told = described(cls)
        for field, hint in config_fields(cls):
            if FLAT in marks_of(hint):
                self._fill(get_args(hint)[0], properties, required)
                continue
            default = field.default
            if callable(field.default_factory):
                default = field.default_factory()
            properties[field.name] = self._entry(hint, default, told.get(field.name))
            if REQUIRED in marks_of(hint) or default is MISSING:
                required.append(field.name)

    def _object(self, cls: type, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "object", "description": summary(cls)}
        made |= {"properties": properties, "additionalProperties": False}
        return made | ({"required": required} if required else {})

    def _entry(self, hint: Any, default: Any, told: str | None) -> dict[str, Any]:
        schema = dict(self.of(hint))
        if told is not None:
            schema["description"] = told
        if default is None or isinstance(default, str | bool | int | float):
            schema["default"] = default
        return schema

    def of(self, hint: Any) -> Mapping[str, Any]:
        """What an annotation allows."""
        notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        if any(isinstance(note, BeforeValidator) for note in notes):
            rest = [note for note in notes if not isinstance(note, BeforeValidator)]
            return {"anyOf": [self._known(_annotated(get_args(hint)[0], rest)), SHORT]}
        if any(isinstance(note, PlainValidator) for note in notes):
            stated = any(isinstance(note, WithJsonSchema) for note in notes)
            return self._leaf(hint) if stated else ANYTHING
        return self._known(hint)

    def _known(self, hint: Any) -> Mapping[str, Any]:
        if get_origin(hint) is Annotated:
            bare, *notes = get_args(hint)
            for note in reversed(notes):
                if isinstance(note, OneOf):
                    return self._one_of(note)
                if note is VALUE:
                    return self._reference(bare)
                if isinstance(note, ValueOrMapping):
                    return {"anyOf": [self.of(note.value), self.of(note.mapping)]}
                if isinstance(note, NumberOrWord):
                    return {"anyOf": [self.of(note.number), {"const": note.word}]}
            if _holds_classes(bare):
                return self.of(bare)
            return self._leaf(hint)
        if get_origin(hint) in (Union, UnionType):
            return {"anyOf": [self.of(part) for part in get_args(hint)]}
        if hint is NoneType:
            return {"type": "null"}
        if get_origin(hint) is tuple and _holds_classes(hint):
            return {"type": "array", "items": self.of(get_args(hint)[0])}
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            return self._reference(hint)
        return self._leaf(hint)

    def _one_of(self, choice: OneOf) -> dict[str, Any]:
        parts: list[Any] = [{"const": word} for word in choice.words]
        parts += [self._reference(cls, kind) for kind, cls in choice.kinds.items()]
        if choice.default is not None:
            return {"anyOf": [*parts, self._reference(choice.kinds[choice.default])]}
        return {"anyOf": [*parts, *([{"type": "object"}] if choice.base is not None else [])]}

    def _reference(self, cls: type, kind: str | None = None) -> dict[str, Any]:
        name = cls.__name__
        if kind is None:
            name += ".default" if hasattr(cls, "kind") else ""
        elif kinds_of(cls) != (kind,):
            name += f".{kind}"
        if name not in self.definitions:
            self.definitions[name] = {}  # it may hold itself
            whole = self.model(cls) if issubclass(cls, BaseModel) else self.dataclass(cls, kind)
            if kind is not None:
                whole["required"] = ["kind", *whole.get("required", ())]
            self.definitions[name] = whole
        return {"$ref": f"#/$defs/{name}"}

    def _leaf(self, hint: Any) -> Mapping[str, Any]:
        try:
            schema = TypeAdapter(hint).json_schema()
        except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
            return ANYTHING
        self.definitions |= schema.pop("$defs", {})
        return schema


def _annotated(hint: Any, notes: Sequence[Any]) -> Any:
    for note in notes:
        hint = Annotated[hint, note]
    return hint


def _holds_classes(hint: Any) -> bool:
    """Whether something in an annotation is a class of ours."""
    if get_origin(hint) is Annotated:
        notes = get_args(hint)[1:]
        classes = OneOf | ValueOrMapping | NumberOrWord | BeforeValidator
        if any(isinstance(note, classes) or note is VALUE for note in notes):
            return True
        return _holds_classes(get_args(hint)[0])
    if isinstance(hint, type) and not get_args(hint):
        return is_dataclass(hint) or issubclass(hint, BaseModel)
    return any(_holds_classes(part) for part in get_args(hint))


def summary(cls: type) -> str:
    """The text of a class's docstring before its sections, in one line."""
    told = _docstring(cls)
    text = " ".join(part for part in (told.short_description, told.long_description) if part)
    return " ".join(text.replace("``", "`").split())


def described(cls: type) -> dict[str, str]:
    """What docstrings of a class and its bases say of each attribute."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        for entry in _docstring(base).params:
            text = " ".join((entry.description or "").replace("``", "`").split())
            told |= dict.fromkeys(entry.arg_name.split(", "), text)
    return told


def _docstring(cls: type) -> Docstring:
    return parse(cls.__doc__ or "", DocstringStyle.NUMPYDOC)
