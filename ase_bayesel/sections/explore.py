"""Biased MD of one round."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from .base import InputPath, Section
from .ensembles import (
    EnsembleConfig,
    LangevinConfig,
    PressureSchedule,
    TauRelSchedule,
    TemperatureSchedule,
)
from .triggers import GuardsConfig, PickConfig, TriggerConfig


class ExploreConfig(Section):
    """Biased MD of one round."""

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
    pick: PickConfig = PickConfig()
    guards: GuardsConfig = GuardsConfig()
    max_rollbacks: NonNegativeInt = 0

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
