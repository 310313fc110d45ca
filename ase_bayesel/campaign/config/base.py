"""What all sections share: frozen, unknown keys refused, paths made absolute."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

MODEL_NAME = re.compile(r"(mace_mp|mace_off):[\w.-]+")


def _absolute(given: Path, info: ValidationInfo) -> Path:
    """Environment variables expanded; relative to the config file where that is known.

    A path that is not absolute must not lead out of that folder, symbolic links resolved.
    """
    expanded = Path(os.path.expandvars(given))
    if "$" in str(expanded):
        raise ValueError(f"{given}: set the environment variable that it names")
    folder = Path() if info.context is None else info.context["folder"]
    _nameable(folder / expanded, given)
    if info.context is None or expanded.is_absolute():
        return expanded
    if not Path(os.path.realpath(folder / expanded)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{given}: leads out of the config's folder; give an absolute path")
    return folder / expanded


def _nameable(path: Path, given: Path) -> None:
    """Refuse a path that no file can have, since looking for it would fail in many ways."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{given}: {error.strerror}") from error


def _within(given: str) -> str:
    if ".." in Path(given).parts:
        raise ValueError(f"{given}: leads out of the folder in which it is looked for")
    return given


def _located(given: str, info: ValidationInfo) -> str:
    """The same for a model, unless it is given by name."""
    return given if MODEL_NAME.fullmatch(given) else str(_absolute(Path(given), info))


InputPath = Annotated[Path, AfterValidator(_absolute)]
FileName = Annotated[str, AfterValidator(_within)]
"""Of a file in a folder that another field names."""
ModelFile = Annotated[str, AfterValidator(_located)]
Threads = Annotated[int, Field(gt=0, le=1024)]
FACTORY = r"^[\w.]+:\w+$"


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
