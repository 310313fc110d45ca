"""Descriptor, potential and refit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    JsonValue,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
)

from .base import FACTORY, InputPath, ModelFile, Section

Dtype = Literal["float32", "float64"]


class ACEConfig(Section):
    """Linear ACE features; see `ACEDescriptor`."""

    kind: Literal["ace"] = "ace"
    elements: list[str] = Field(min_length=1)
    order: Literal[2, 3] = 3
    totaldegree: int = Field(12, ge=2)
    cutoff: PositiveFloat = 5.0


class MACEFeaturesConfig(Section):
    """Node features of a MACE model; see `MACEDescriptor`.

    Without a ``model`` they are those of the potential itself, and change with it.
    ``force_projections`` is that of `fit_surrogate`, ``trust`` that of `MACEDescriptor`.
    """

    kind: Literal["mace"]
    model: ModelFile | None = None
    components: Literal["invariant", "all"] = "invariant"
    num_layers: PositiveInt | None = None
    elements: list[str] | None = Field(None, min_length=1)
    force_projections: PositiveInt | None = 32
    trust: bool = False


def _kind(given: Any) -> Any:
    """Kind of a descriptor; linear ACE where none is named."""
    return given.get("kind", "ace") if isinstance(given, dict) else getattr(given, "kind", None)


DescriptorConfig = Annotated[
    Annotated[ACEConfig, Tag("ace")] | Annotated[MACEFeaturesConfig, Tag("mace")],
    Discriminator(_kind),
]


class MACEPotentialConfig(Section):
    """A MACE model as the potential: a file, or a name such as ``mace_mp:medium``.

    ``trust`` is that of `MACEDescriptor`: unpickle the file, which runs code that it holds.
    """

    kind: Literal["mace"]
    model: ModelFile
    head: str | None = None
    dtype: Dtype = "float64"
    device: str = "cpu"
    trust: bool = False


class ImportedPotentialConfig(Section):
    """Any importable callable that returns an ASE calculator.

    With a ``model`` it is called with ``model=<path>`` and these parameters, and
    again after each refit with the path of the new model.
    """

    kind: Literal["import"]
    factory: str = Field(pattern=FACTORY)
    parameters: dict[str, JsonValue] = {}
    model: InputPath | None = None


PotentialConfig = Annotated[
    MACEPotentialConfig | ImportedPotentialConfig, Field(discriminator="kind")
]


class MACERefitConfig(Section):
    """Fine-tuning by ``mace_run_train``; see `refit.MACERefitter`."""

    kind: Literal["mace"]
    max_epochs: PositiveInt = 100
    checkpoint_epochs: PositiveInt = 25
    learning_rate: PositiveFloat = 1e-3
    ema: bool = True
    batch_size: PositiveInt = 5
    valid_fraction: float = Field(0.1, gt=0.0, le=0.5)
    replay: bool = True
    energy_weight: NonNegativeFloat = 10.0
    forces_weight: NonNegativeFloat = 100.0
    stress_weight: NonNegativeFloat = 10.0
    e0s: Literal["data", "model"] = "data"
    time_limit_h: PositiveFloat | None = None
    options: dict[str, str | bool | int | float] = {}


class CommandRefitConfig(Section):
    """Refit by a command of the user's own; see `refit.CommandRefitter`."""

    kind: Literal["command"]
    command: list[str] = Field(min_length=1)
    time_limit_h: PositiveFloat | None = None


RefitConfig = Annotated[MACERefitConfig | CommandRefitConfig, Field(discriminator="kind")]


class WeightsConfig(Section):
    """Relative weights of the refit; see `surrogate.Weights`."""

    energy: PositiveFloat = 30.0
    forces: PositiveFloat = 1.0
    virial: PositiveFloat = 30.0
