"""The campaign's config: frozen, validated, unknown keys refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from .errors import ConfigError


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


class DataConfig(Section):
    """Where structures and labels come from.

    Paths are relative to the config file; environment variables are expanded.
    """

    train: Path
    test: Path | None = None
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
    """The criterion for a pick; units by kind: none, eV/A, eV/atom."""

    kind: Literal["relative_force", "force", "energy_per_atom"] = "relative_force"
    threshold: PositiveFloat
    eps: PositiveFloat = 0.2

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

    starts: Path
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
    factory: str = Field(pattern=r"^[\w.]+:\w+$")
    parameters: dict[str, Any] = {}


EngineConfig = Annotated[TBLiteConfig | ImportedConfig, Field(discriminator="kind")]


class StopConfig(Section):
    """When the campaign ends, besides a round in which nothing triggers."""

    max_rounds: PositiveInt = 10
    max_labels: PositiveInt | None = None


class CampaignConfig(Section):
    """Everything a campaign needs to know.

    ``threads`` limits torch and BLAS: structures of a few hundred atoms are
    fastest on one.
    """

    seed: int = Field(0, ge=0)
    threads: PositiveInt = 1
    descriptor: ACEConfig
    data: DataConfig
    weights: WeightsConfig | None = WeightsConfig()
    explore: ExploreConfig
    labelling: EngineConfig | Literal["none"]
    stop: StopConfig = StopConfig()


def load_config(path: str | Path) -> CampaignConfig:
    """Read and validate a YAML config; its relative paths are made absolute.

    Raises
    ------
    ConfigError
        Naming the file and every wrong field.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of sections at the top level")
    config = validate_config(raw, str(path))
    base = path.resolve().parent

    def absolute(given: Path) -> Path:
        expanded = os.path.expandvars(given)
        if "$" in expanded:
            raise ConfigError(f"{path}: {given}: set the environment variable that it names")
        return base / expanded

    test = config.data.test
    data = config.data.model_copy(
        update={
            "train": absolute(config.data.train),
            "test": None if test is None else absolute(test),
        }
    )
    explore = config.explore.model_copy(update={"starts": absolute(config.explore.starts)})
    return config.model_copy(update={"data": data, "explore": explore})


def validate_config(raw: dict[str, Any], where: str) -> CampaignConfig:
    """The config in a mapping; a `ConfigError` lists every field that is wrong."""
    try:
        return CampaignConfig.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_field(entry)}: {entry['msg']}" for entry in error.errors()]
        raise ConfigError(f"{where}: invalid config\n" + "\n".join(lines)) from error


def _field(entry: Any) -> str:
    return ".".join(str(part) for part in entry["loc"]) or "(top level)"


def changed_fields(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Dotted names of the fields in which two dumped configs differ, sorted."""
    one, other = _flat(first), _flat(second)
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _flat(tree: Any, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
