"""Biased MD of one round."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from .base import InputPath, Section
from .triggers import GuardsConfig, PickConfig, TriggerConfig


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
    pick: PickConfig = PickConfig()
    guards: GuardsConfig = GuardsConfig()

    @model_validator(mode="after")
    def _one_strength(self) -> ExploreConfig:
        if (self.tau is None) == (self.tau_rel is None):
            raise ValueError("give exactly one of tau and tau_rel")
        return self
