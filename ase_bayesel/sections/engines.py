"""The engine that labels, and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, PositiveFloat

from .base import FACTORY, InputPath, Section


class EngineSection(Section):
    """What all engines share.

    ``ladder`` lists changes of ``parameters``, merged into them section by section, that are
    tried one after the other where a calculation has failed.
    """

    parameters: dict[str, JsonValue] = {}
    ladder: list[dict[str, JsonValue]] = []


class ProgramSection(EngineSection):
    """What all engines share that are programs; see `engines.program.ProgramEngine`."""

    command: list[str] = []
    environment: dict[str, str] = {}
    time_limit_h: PositiveFloat | None = None


class TBLiteConfig(EngineSection):
    """xTB by tblite, Gamma point only."""

    kind: Literal["tblite"]
    method: str = "GFN1-xTB"


class ImportedConfig(EngineSection):
    """Any importable callable that returns an ASE calculator."""

    kind: Literal["import"]
    factory: str = Field(pattern=FACTORY)


class SurrogateConfig(EngineSection):
    """A saved surrogate as the teacher."""

    kind: Literal["surrogate"]
    model: InputPath


EngineConfig = Annotated[
    TBLiteConfig | ImportedConfig | SurrogateConfig, Field(discriminator="kind")
]
