"""What the fields of a config's classes may hold: annotations for stdlib dataclasses.

A class that a config describes annotates its fields with these, and `kinds` validates it by
them. To whoever makes the class in Python they say nothing but the type: they add no check there.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from .numbers import without_booleans

__all__ = [
    "FACTORY",
    "FLAT",
    "HIDDEN",
    "MODEL_NAME",
    "REQUIRED",
    "Argument",
    "Factory",
    "FileName",
    "GivenModel",
    "InputPath",
    "Json",
    "ModelFile",
    "ModelName",
    "NumberOrWord",
    "Program",
    "Scalar",
    "Several",
    "ValueOrMapping",
    "absolute",
    "refusal",
]

MODEL_NAME = re.compile(r"(mace_mp|mace_off):[\w.-]+")
FACTORY = r"^([\w.]+|.+\.py):\w+(\.\w+)*$"
REQUIRED = "required"
"""Marks a field that a config has to give, though the class has a default for it."""
HIDDEN = "hidden"
"""Marks a field that is no key of a config: something else decides it."""
FLAT = "flat"
"""Marks a field that holds a dataclass whose keys are written beside the other ones."""


def refusal(message: str, kind: str = "value_error") -> PydanticCustomError:
    """An error to raise within a validator: the message stands as it is."""
    return PydanticCustomError(kind, "{message}", {"message": message})


def _not_empty(given: str | Path, value: str) -> str:
    """The value; an empty one names no file, though paths take it for the folder."""
    if not value.strip():
        raise ValueError(f"{str(given)!r} names no file; give one, or leave the key out")
    return value


def absolute(given: str | Path, info: ValidationInfo) -> Path:
    """Environment variables and ``~`` expanded; relative to the config file where that is known.

    A path that is not absolute must not lead out of that folder, symbolic links resolved.

    Raises
    ------
    ValueError
        If it does, if it is empty, if a variable or a home is not there, or if no file can have
        this name.
    """
    text = os.path.expandvars(given)
    expanded = Path(os.path.expanduser(_not_empty(given, text)))
    if "$" in str(expanded):
        raise ValueError(f"{given}: set the environment variable that it names")
    if str(expanded).startswith("~"):
        raise ValueError(f"{given}: there is no such user's home; give an absolute path")
    folder = (info.context or {}).get("folder")
    _nameable((folder or Path()) / expanded, given)
    if folder is None or expanded.is_absolute():
        return expanded
    if not Path(os.path.realpath(folder / expanded)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{given}: leads out of the config's folder; give an absolute path")
    return Path(folder / expanded)


def _nameable(path: Path, given: str | Path) -> None:
    """Refuse a path that no file can have, since looking for it would fail in many ways."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{given}: {error.strerror}") from error


def _path(given: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Path:
    """A text as it was given: as a path an empty one would be the folder."""
    checked: Path = handler(given)
    return absolute(given if isinstance(given, str) else checked, info)


def _at_home(given: str) -> str:
    return os.path.expanduser(given)


def _within(given: str) -> str:
    if ".." in Path(given).parts or Path(_not_empty(given, given)).is_absolute():
        raise ValueError(f"{given}: leads out of the folder in which it is looked for")
    return given


def _located(given: str, info: ValidationInfo) -> str:
    """The same for a model, unless it is given by name."""
    return given if MODEL_NAME.fullmatch(given) else str(absolute(given, info))


def _beside(given: str, info: ValidationInfo) -> str:
    """A factory whose module is a file beside the config is named by that file."""
    source, _, name = given.rpartition(":")
    folder = (info.context or {}).get("folder")
    if not source.endswith(".py"):
        if folder is None or not (folder / f"{source}.py").is_file():
            return given
        source = f"{source}.py"
    return f"{absolute(source, info)}:{name}"


@dataclass(frozen=True)
class ModelName:
    """A model that its package finds by a name, and keeps itself."""

    name: str

    def __str__(self) -> str:
        return self.name


def _given_model(given: Any, info: ValidationInfo) -> Path | tuple[Path, ...] | ModelName:
    if isinstance(given, ModelName):
        return given
    if isinstance(given, Mapping) and given.keys() == {"name"}:
        name = given["name"]
        if isinstance(name, str) and name:
            return ModelName(name)
    if isinstance(given, str | Path):
        return absolute(given, info)
    several = isinstance(given, list | tuple) and bool(given)
    if not several or not all(isinstance(one, str | Path) for one in given):
        raise refusal("expected a file, a folder, a list of files, or a mapping with a name")
    paths = tuple(absolute(one, info) for one in given)
    if len({path.name for path in paths}) < len(paths):
        raise refusal("two files have the same name; a campaign keeps them in one folder")
    return paths


def _argument(given: Any) -> str | int:
    if isinstance(given, str) and given.isidentifier():
        return given
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    raise refusal(
        "expected the name of a keyword, or a place among positional arguments: 0, 1, ..."
    )


_JSON: TypeAdapter[Any] = TypeAdapter(JsonValue, config=ConfigDict(allow_inf_nan=False))


def _json(given: Any) -> Any:
    try:
        return _JSON.validate_python(given)
    except ValueError:
        raise refusal(f"{given!r} is no number, text, truth value, list or mapping") from None


def _scalar(given: Any) -> Any:
    if not isinstance(given, str | bool | int | float):
        raise refusal("expected text, a number or a truth value")
    return given


InputPath = Annotated[Path, WrapValidator(_path)]
"""A path that is made absolute, see `absolute`."""
Program = Annotated[str, AfterValidator(_at_home)]
"""A word of a command; ``~`` at its beginning is expanded."""
FileName = Annotated[str, AfterValidator(_within)]
"""Of a file in a folder that another field names."""
ModelFile = Annotated[str, AfterValidator(_located)]
"""A model: a file, or a name such as ``mace_mp:medium``."""
Factory = Annotated[str, Field(pattern=FACTORY), AfterValidator(_beside)]
"""``package.module:callable``, or ``file.py:callable``; the callable's name may have dots.

A module ``name`` of which there is a file ``name.py`` beside the config is that file.
"""
Argument = Annotated[Any, PlainValidator(_argument)]
"""Of a callable: a keyword, or a place from 0."""
GivenModel = Annotated[Any, PlainValidator(_given_model)]
"""A path; a tuple of paths with different names; or a `ModelName`, from ``{name: ...}``."""
Json = Annotated[Any, PlainValidator(_json)]
"""What JSON can hold, as it is."""
Scalar = Annotated[str | float | bool, PlainValidator(_scalar)]
"""Text, a number or a truth value, as it is."""
Several = Field(min_length=1)
"""At least one."""


class ValueOrMapping:
    """Annotation of a union of a mapping and something else, so that errors name no union's part.

    Parameters
    ----------
    value, mapping
        Types for what is no mapping, and for what is one.
    """

    def __init__(self, value: Any, mapping: Any) -> None:
        self.value, self.mapping = value, mapping
        numbers = Annotated[mapping, _Numbers()]
        self._value: TypeAdapter[Any] = TypeAdapter(value)
        self._mapping: TypeAdapter[Any] = TypeAdapter(numbers, config=_finite(mapping))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validated)

    def _validated(self, given: Any, info: ValidationInfo) -> Any:
        adapter = self._mapping if isinstance(given, Mapping) else self._value
        return adapter.validate_python(given, context=info.context)


class NumberOrWord:
    """Annotation of a union of a number and a word, so that errors name no union's part.

    Parameters
    ----------
    number
        Type of the number.
    word
        The text that may stand in its place.
    """

    def __init__(self, number: Any, word: str) -> None:
        self.number, self.word = number, word
        self._number: TypeAdapter[float] = TypeAdapter(
            Annotated[number, _Numbers()], config=_finite(number)
        )

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def _validated(self, given: Any) -> Any:
        if given == self.word:
            return given
        if isinstance(given, str) and not _is_number(given):
            raise refusal(f"{given!r} is neither a number nor {self.word}")
        return self._number.validate_python(given)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Numbers:
    """Annotation under which truth values are no numbers."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return without_booleans(handler(source))


def _finite(given: Any) -> ConfigDict | None:
    """Classes bring their own settings."""
    return None if isinstance(given, type) else ConfigDict(allow_inf_nan=False)
