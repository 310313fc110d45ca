"""From a mapping of a config to the object that it describes, and back: one mechanism for all.

A class that a config may name is a frozen stdlib dataclass. Its fields are the keys, its ``kind``
is what the config calls it, its annotations (see `fields`) are what the values are validated by,
and its ``__post_init__`` is what it checks itself. `OneOf` chooses among such classes by the kind,
`VALUE` validates a class without one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from ..errors import BayeselError
from .failures import is_failure, reason_of
from .fields import FLAT, HIDDEN, REQUIRED, refusal
from .numbers import without_booleans
from .words import did_you_mean

UNKNOWN_KEY = "extra_forbidden"
"""Type of the error for a key that is not known, as pydantic has it."""


class OneOf:
    """Annotation of a field that holds an object of one of several classes, chosen by ``kind``.

    ``Annotated[Engine, OneOf(ENGINES)]`` takes ``{kind: tblite, method: GFN2-xTB}``, or an engine.

    Parameters
    ----------
    classes
        Frozen dataclasses with a ``kind``, or a function that gives them, where the list is made
        later than the annotation. A class for several kinds has a field ``kind: Literal[...]``.
    default
        The kind where none is named; None to require one.
    words
        Texts that stand for themselves, ``"none"``, say.
    base
        With a base class, ``kind`` may also be ``package.module:Class``, a subclass of it from
        anywhere. Only for configs, which are programs, not for data.
    """

    def __init__(
        self,
        classes: Sequence[type] | Callable[[], Sequence[type]],
        default: str | None = None,
        words: tuple[str, ...] = (),
        base: type | None = None,
    ) -> None:
        self._classes, self.default, self.words, self.base = classes, default, words, base

    @property
    def classes(self) -> tuple[type, ...]:
        """What there is to choose from."""
        return tuple(self._classes() if callable(self._classes) else self._classes)

    @property
    def kinds(self) -> dict[str, type]:
        """The class of each kind."""
        return {kind: cls for cls in self.classes for kind in kinds_of(cls)}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._dumped, info_arg=True
            ),
        )

    def is_made(self, value: Any) -> bool:
        """Whether a value is an object of these classes already."""
        return isinstance(value, self.classes if self.base is None else (*self.classes, self.base))

    def made(self, cls: type, values: dict[str, Any]) -> Any:
        """The object with these validated values."""
        return made(cls, values)

    def parts(self, value: Any) -> tuple[type, dict[str, Any]]:
        """The class and the values of an object: the inverse of `made`."""
        return type(value), values_of(value)

    def _validated(self, raw: Any, info: ValidationInfo) -> Any:
        if self.is_made(raw) or (isinstance(raw, str) and raw in self.words):
            return raw
        known = ", ".join(self.kinds)
        if not isinstance(raw, Mapping):
            words = "".join(f"{word}, or " for word in self.words)
            raise refusal(f"expected {words}a mapping with a kind, one of {known}", "not_a_mapping")
        kind = raw.get("kind", self.default)
        if kind is None:
            raise refusal(f"needs a kind, one of {known}", "no_kind")
        cls = self._class_of(kind, known, (info.context or {}).get("run_code", True))
        rest = {key: value for key, value in raw.items() if key != "kind" or _has_kind(cls)}
        values = validated_values(cls, rest, info.context, with_kind=True)
        return _made(self.made, cls, values)

    def _class_of(self, kind: Any, known: str, run_code: bool) -> type:
        if isinstance(kind, str) and kind in self.kinds:
            return self.kinds[kind]
        if self.base is None or not isinstance(kind, str) or ":" not in kind:
            outside = "" if self.base is None else ", or package.module:Class"
            raise _at("kind", f"{kind!r} is none of {known}{outside}", "unknown_kind")
        if not run_code:
            raise _at("kind", f"{kind!r} would have to be imported to be checked", "unknown_kind")
        module, _, name = kind.partition(":")
        try:
            cls = getattr(importlib.import_module(module), name)
        except BaseException as error:  # importing a module runs it
            if not is_failure(error):
                raise
            told = f"cannot import {kind!r} ({reason_of(error)})"
            raise _at("kind", told, "unknown_kind") from error
        if not (isinstance(cls, type) and issubclass(cls, self.base) and is_dataclass(cls)):
            wanted = f"a dataclass that is derived from {self.base.__name__}"
            raise _at("kind", f"{kind!r} is not {wanted}", "unknown_kind")
        return cls

    def _dumped(self, value: Any, info: Any) -> Any:
        if isinstance(value, str) or value is None:
            return value
        cls, values = self.parts(value)
        inside = cls in self.classes
        kind = values.get("kind", cls.kind) if inside else f"{cls.__module__}:{cls.__qualname__}"  # type: ignore[attr-defined]
        return {"kind": kind, **_fields(cls).dump_python(values, mode=info.mode)}


class Value:
    """Annotation of a field that holds an object of one class, that of the field itself."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def validated(raw: Any, info: ValidationInfo) -> Any:
            if isinstance(raw, source):
                return raw
            if not isinstance(raw, Mapping):
                raise refusal(f"expected a mapping of {', '.join(keys_of(source))}")
            return _made(made, source, validated_values(source, raw, info.context))

        def dumped(value: Any, info: Any) -> Any:
            return _fields(source).dump_python(values_of(value), mode=info.mode)

        return core_schema.with_info_plain_validator_function(
            validated,
            serialization=core_schema.plain_serializer_function_ser_schema(dumped, info_arg=True),
        )


VALUE = Value()


def kinds_of(cls: type) -> tuple[str, ...]:
    """What a config calls a class: its ``kind``, or those of its field of this name."""
    if _has_kind(cls):
        return tuple(get_args(_bare(_hints(cls)["kind"])))
    kind: str = cls.kind  # type: ignore[attr-defined]
    return (kind,)


def keys_of(cls: type) -> tuple[str, ...]:
    """The keys of a class in a config, but for ``kind``."""
    return tuple(name for name in _named(cls) if name != "kind")


def validated_values(
    cls: type, raw: Mapping[Any, Any], context: Any = None, with_kind: bool = False
) -> dict[str, Any]:
    """The values of a mapping as a class's annotations have them; its defaults are left out.

    Parameters
    ----------
    cls
        The dataclass.
    raw
        The mapping, without the kind of a class that has only one.
    context
        Of pydantic; ``{"folder": ...}`` for paths.
    with_kind
        Count ``kind`` among the keys where an unknown one is refused.

    Raises
    ------
    ValidationError
        With all that is wrong, by key.
    """
    try:
        values: dict[str, Any] = _fields(cls).validate_python(dict(raw), context=context)
    except ValidationError as error:
        raise explained(error, ("kind", *keys_of(cls)) if with_kind else keys_of(cls)) from None
    return values


def made(cls: type, values: dict[str, Any]) -> Any:
    """The object with these values, as `validated_values` gives them."""
    arguments = dict(values)
    for field, hint in config_fields(cls):
        if FLAT in marks_of(hint):
            inner = _bare(hint)
            taken = {name: arguments.pop(name) for name in _named(inner) if name in arguments}
            arguments[field.name] = inner(**taken)
    return cls(**arguments)


def values_of(value: Any) -> dict[str, Any]:
    """The values of an object by the keys of a config."""
    values: dict[str, Any] = {}
    for field, hint in config_fields(type(value)):
        content = getattr(value, field.name)
        values |= values_of(content) if FLAT in marks_of(hint) else {field.name: content}
    return values


def explained(error: ValidationError, keys: Sequence[str]) -> ValidationError:
    """The same error, in which a key that is not known comes with those that are.

    A list is not said to be too short where that is because its items are wrong.
    """
    entries = error.errors(include_url=False)
    told_below = [entry for entry in entries if not _is_too_short_for_its_items(entry, entries)]
    if told_below == entries and not any(_is_unknown(entry) for entry in entries):
        return error
    lines = []
    for entry in told_below:
        message = entry["msg"]
        if _is_unknown(entry):
            hint = did_you_mean(str(entry["loc"][0]), keys)
            message = (
                f"no such key{hint or ';'} {'T' if hint else 't'}he keys are {', '.join(keys)}"
            )
        told = refusal(message, entry["type"])
        lines.append(InitErrorDetails(type=told, loc=entry["loc"], input=entry["input"]))
    return ValidationError.from_exception_data(error.title, lines)


def _is_too_short_for_its_items(entry: Any, entries: Sequence[Any]) -> bool:
    place = entry["loc"]
    below = [other for other in entries if other["loc"][: len(place)] == place]
    return entry["type"] == "too_short" and len(below) > 1


def _is_unknown(entry: Any) -> bool:
    return entry["type"] == UNKNOWN_KEY and len(entry["loc"]) == 1


def _made(make: Callable[[type, dict[str, Any]], Any], cls: type, values: dict[str, Any]) -> Any:
    """An object; what its class refuses becomes an error of validation."""
    try:
        return make(cls, values)
    except ValidationError:
        raise
    except (BayeselError, ValueError) as error:
        raise refusal(str(error)) from error


def _at(key: str, message: str, kind: str) -> ValidationError:
    """An error of one key."""
    line = InitErrorDetails(type=refusal(message, kind), loc=(key,), input=None)
    return ValidationError.from_exception_data("config", [line])


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def config_fields(cls: type) -> list[tuple[Field[Any], Any]]:
    """The fields that a config knows, with their annotations."""
    hints = _hints(cls)
    assert is_dataclass(cls)
    pairs = [(field, hints[field.name]) for field in fields(cls) if field.init]
    return [(field, hint) for field, hint in pairs if HIDDEN not in marks_of(hint)]


def _named(cls: type) -> tuple[str, ...]:
    """All keys of a class, a field ``kind`` among them."""
    names: list[str] = []
    for field, hint in config_fields(cls):
        names += _named(_bare(hint)) if FLAT in marks_of(hint) else [field.name]
    return tuple(names)


def _has_kind(cls: type) -> bool:
    assert is_dataclass(cls)
    return any(field.name == "kind" for field in fields(cls))


def marks_of(hint: Any) -> tuple[Any, ...]:
    """The texts that an annotation is marked with, see `fields`."""
    metadata = hint.__metadata__ if get_origin(hint) is Annotated else ()
    return tuple(mark for mark in metadata if isinstance(mark, str))


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


class _Fields:
    """Annotation of a ``dict`` that holds the values of a class by the keys of a config."""

    def __init__(self, cls: type) -> None:
        self._class = cls

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.typed_dict_schema(
            self._entries(self._class, handler),
            extra_behavior="forbid",
            config=core_schema.CoreConfig(allow_inf_nan=False),
        )

    def _entries(
        self, cls: type, handler: GetCoreSchemaHandler
    ) -> dict[str, core_schema.TypedDictField]:
        entries: dict[str, core_schema.TypedDictField] = {}
        for field, hint in config_fields(cls):
            if FLAT in marks_of(hint):
                entries |= self._entries(_bare(hint), handler)
                continue
            has_default = field.default is not MISSING or field.default_factory is not MISSING
            required = REQUIRED in marks_of(hint) or not has_default
            schema = without_booleans(handler.generate_schema(hint))
            entries[field.name] = core_schema.typed_dict_field(schema, required=required)
        return entries


@cache
def _fields(cls: type) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(Annotated[dict[str, Any], _Fields(cls)])
