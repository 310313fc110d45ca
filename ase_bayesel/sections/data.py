"""Where structures and labels come from, and when to stop."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from .base import FACTORY, InputPath, Section


class DataConfig(Section):
    """Where structures and labels come from.

    Paths are relative to the config file; environment variables are expanded.
    """

    train: InputPath
    test: InputPath | None = None
    energy_key: str = "REF_energy"
    forces_key: str | None = "REF_forces"
    virial_key: str | None = None
    e0s: Literal["isolated", "average"] | dict[str, float] = "isolated"


class TBLiteConfig(Section):
    """xTB by tblite, Gamma point only."""

    kind: Literal["tblite"]
    method: str = "GFN1-xTB"
    parameters: dict[str, Any] = {}


class ImportedConfig(Section):
    """Any importable callable that returns an ASE calculator."""

    kind: Literal["import"]
    factory: str = Field(pattern=FACTORY)
    parameters: dict[str, Any] = {}


class SurrogateConfig(Section):
    """A saved surrogate as the teacher."""

    kind: Literal["surrogate"]
    model: InputPath


EngineConfig = Annotated[
    TBLiteConfig | ImportedConfig | SurrogateConfig, Field(discriminator="kind")
]


class StopConfig(Section):
    """When the campaign ends, besides a round in which nothing triggers."""

    max_rounds: PositiveInt = 10
    max_labels: PositiveInt | None = None
