"""Biased MD: triggers, guards, and one round of exploration."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from .base import InputPath, Section
from .ensembles import (
    EnsembleConfig,
    LangevinConfig,
    PressureSchedule,
    TauRelSchedule,
    TemperatureSchedule,
)


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
    """Biased MD of one round.

    ``trajectory_interval`` is the number of steps between the frames of ``trajectory_K.xyz``,
    null for none; ``log`` keeps numbers of every step, see `recording`.
    """

    starts: InputPath
    walkers: PositiveInt = 4
    steps: PositiveInt = 2000
    picks: PositiveInt = 5
    temperature_K: TemperatureSchedule = 300.0
    pressure_GPa: PressureSchedule | None = None
    timestep_fs: PositiveFloat = 1.0
    ensemble: EnsembleConfig = LangevinConfig()
    tau_rel: TauRelSchedule | None = None
    tau: float | None = None
    tau_delay: PositiveInt = 20
    tau_max: PositiveFloat = 50.0
    check_interval: PositiveInt = 5
    trigger: TriggerConfig
    guards: GuardsConfig = GuardsConfig()
    max_rollbacks: NonNegativeInt = 0
    trajectory_interval: PositiveInt | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_strength(self) -> ExploreConfig:
        if (self.tau is None) == (self.tau_rel is None):
            raise ValueError("give exactly one of tau and tau_rel")
        return self

    @model_validator(mode="after")
    def _pressure_where_needed(self) -> ExploreConfig:
        if self.ensemble.kind == "npt" and self.pressure_GPa is None:
            raise ValueError("ensemble npt needs pressure_GPa")
        return self
