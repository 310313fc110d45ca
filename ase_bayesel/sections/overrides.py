"""What one start structure has different from the config's explore section."""

from __future__ import annotations

from pydantic import PositiveInt

from .base import Section
from .ensembles import EnsembleConfig, PressureSchedule, TauRelSchedule, TemperatureSchedule
from .explore import TriggerConfig


class Overrides(Section):
    """Fields as in `ExploreConfig`; None leaves what is set there."""

    temperature_K: TemperatureSchedule | None = None
    pressure_GPa: PressureSchedule | None = None
    steps: PositiveInt | None = None
    tau_rel: TauRelSchedule | None = None
    trigger: TriggerConfig | None = None
    ensemble: EnsembleConfig | None = None
