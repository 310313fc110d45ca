"""Biased MD: triggers, guards, and one round of exploration."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from .base import InputPath, Section
from .bias import BiasConfig


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
    tau_max: PositiveFloat | None = None
    bias_force_max: PositiveFloat = 5.0
    bias: BiasConfig = BiasConfig()
    check_interval: PositiveInt = 5
    trigger: TriggerConfig
    guards: GuardsConfig = GuardsConfig()

    @model_validator(mode="after")
    def _one_strength(self) -> ExploreConfig:
        if (self.tau is None) == (self.tau_rel is None):
            raise ValueError("give exactly one of tau and tau_rel")
        return self
