"""The sections of a campaign's config: frozen, unknown keys refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    model_validator,
)

MODEL_NAME = re.compile(r"(mace_mp|mace_off):[\w.-]+")


def _absolute(given: Path, info: ValidationInfo) -> Path:
    """Environment variables expanded; relative to the config file where that is known."""
    expanded = os.path.expandvars(given)
    if "$" in expanded:
        raise ValueError(f"{given}: set the environment variable that it names")
    return Path(expanded) if info.context is None else info.context["folder"] / expanded


def _located(given: str, info: ValidationInfo) -> str:
    """The same for a model, unless it is given by name."""
    return given if MODEL_NAME.fullmatch(given) else str(_absolute(Path(given), info))


InputPath = Annotated[Path, AfterValidator(_absolute)]
ModelFile = Annotated[str, AfterValidator(_located)]
Dtype = Literal["float32", "float64"]
FACTORY = r"^[\w.]+:\w+$"


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    ``force_projections`` is that of `fit_surrogate`.
    """

    kind: Literal["mace"]
    model: ModelFile | None = None
    components: Literal["invariant", "all"] = "invariant"
    num_layers: PositiveInt | None = None
    elements: list[str] | None = Field(None, min_length=1)
    force_projections: PositiveInt | None = 32


def _kind(given: Any) -> Any:
    """Kind of a descriptor; linear ACE where none is named."""
    return given.get("kind", "ace") if isinstance(given, dict) else getattr(given, "kind", None)


DescriptorConfig = Annotated[
    Annotated[ACEConfig, Tag("ace")] | Annotated[MACEFeaturesConfig, Tag("mace")],
    Discriminator(_kind),
]


class MACEPotentialConfig(Section):
    """A MACE model as the potential: a file, or a name such as ``mace_mp:medium``."""

    kind: Literal["mace"]
    model: ModelFile
    head: str | None = None
    dtype: Dtype = "float64"
    device: str = "cpu"


class ImportedPotentialConfig(Section):
    """Any importable callable that returns an ASE calculator.

    With a ``model`` it is called with ``model=<path>`` and these parameters, and
    again after each refit with the path of the new model.
    """

    kind: Literal["import"]
    factory: str = Field(pattern=FACTORY)
    parameters: dict[str, Any] = {}
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


class WeightsConfig(Section):
    """Relative weights of the refit; see `surrogate.Weights`."""

    energy: PositiveFloat = 30.0
    forces: PositiveFloat = 1.0
    virial: PositiveFloat = 30.0


class TriggerConfig(Section):
    """The criterion for a pick; units by kind: none, eV/A, eV/atom.

    ``exact`` forms the force deviations of all atoms also for features of a network,
    where a `ForceSearch` would do.
    """

    kind: Literal["relative_force", "force", "energy_per_atom"] = "relative_force"
    threshold: PositiveFloat
    eps: PositiveFloat = 0.2
    exact: bool = False

    @model_validator(mode="after")
    def _eps_only_where_used(self) -> TriggerConfig:
        if "eps" in self.model_fields_set and self.kind != "relative_force":
            raise ValueError("eps belongs to kind: relative_force only")
        return self


class GuardsConfig(Section):
    """Limits of a sane trajectory; see `triggers.Guards`. null switches one off."""

    close_contact: PositiveFloat | None = 0.5
    max_force: PositiveFloat | None = 100.0
    max_temperature_K: PositiveFloat | None = 10000.0


class ExploreConfig(Section):
    """Biased MD of one round."""

    starts: InputPath
    walkers: PositiveInt = 4
    steps: PositiveInt = 2000
    picks: PositiveInt = 5
    temperature_K: PositiveFloat = 300.0
    timestep_fs: PositiveFloat = 1.0
    friction_per_fs: PositiveFloat = 0.01
    tau_rel: NonNegativeFloat | None = None
    tau: float | None = None
    tau_delay: PositiveInt = 20
    tau_max: PositiveFloat = 50.0
    check_interval: PositiveInt = 5
    trigger: TriggerConfig
    guards: GuardsConfig = GuardsConfig()

    @model_validator(mode="after")
    def _one_strength(self) -> ExploreConfig:
        if (self.tau is None) == (self.tau_rel is None):
            raise ValueError("give exactly one of tau and tau_rel")
        return self


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
