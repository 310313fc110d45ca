"""Descriptor and potential: values that `build.models` makes real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...io.fields import Count, Factory, InputPath, Json, ModelFile, Several
from ...io.kinds import OneOf


@dataclass(frozen=True)
class ACEConfig:
    """Linear ACE features; see `ACEDescriptor`."""

    kind: ClassVar[str] = "ace"

    elements: Annotated[tuple[str, ...], Several]
    order: Literal[2, 3] = 3
    totaldegree: Annotated[int, Field(ge=2, le=100)] = 12
    cutoff: Annotated[float, Field(gt=0, le=100)] = 5.0


@dataclass(frozen=True)
class JulipConfig:
    """Linear ACE features of ACEpotentials, computed by Julia; see `JulipDescriptor`."""

    kind: ClassVar[str] = "julip"

    elements: Annotated[tuple[str, ...], Several]
    order: Annotated[int, Field(ge=2, le=6)] = 3
    totaldegree: Annotated[int, Field(ge=2, le=100)] = 12
    cutoff: Annotated[float, Field(gt=0, le=100)] = 5.0


@dataclass(frozen=True)
class MACEFeaturesConfig:
    """Node features of a MACE model; see `MACEDescriptor`.

    Without a ``model`` they are those of the potential itself, and change with it.
    ``force_projections`` is that of `fit_surrogate`, ``trust`` that of `MACEDescriptor`.
    """

    kind: ClassVar[str] = "mace"

    model: ModelFile | None = None
    components: Literal["invariant", "all"] = "invariant"
    num_layers: Count | None = None
    elements: Annotated[tuple[str, ...], Several] | None = None
    force_projections: Count | None = 32
    trust: bool = False


@dataclass(frozen=True)
class MACEPotentialConfig:
    """A MACE model as the potential: a file, or a name such as ``mace_mp:medium``.

    ``trust`` is that of `MACEDescriptor`: unpickle the file, which runs code that it holds.
    """

    kind: ClassVar[str] = "mace"

    model: ModelFile
    head: str | None = None
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    trust: bool = False


@dataclass(frozen=True)
class ImportedPotentialConfig:
    """Any importable callable that returns an ASE calculator.

    With a ``model`` it is called with ``model=<path>`` and these parameters, and
    again after each refit with the path of the new model.
    """

    kind: ClassVar[str] = "import"

    factory: Factory
    parameters: Mapping[str, Json] = field(default_factory=dict)
    model: InputPath | None = None


DESCRIPTORS = (ACEConfig, MACEFeaturesConfig, JulipConfig)
POTENTIALS = (MACEPotentialConfig, ImportedPotentialConfig)
AnyDescriptor = Annotated[
    ACEConfig | MACEFeaturesConfig | JulipConfig, OneOf(DESCRIPTORS, default="ace")
]
AnyPotential = Annotated[MACEPotentialConfig | ImportedPotentialConfig, OneOf(POTENTIALS)]


def model_file(potential: AnyPotential | None) -> Path | str | None:
    """What a potential is read from, where it is read from a file."""
    return None if potential is None else potential.model
