"""Pools of candidate structures: recipes and what they need."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from .base import InputPath, Section, Threads
from .data import DataConfig
from .ensembles import EnsembleConfig, LangevinConfig, PressureSchedule, TemperatureSchedule
from .models import DescriptorConfig, PotentialConfig
from .triggers import GuardsConfig

Several = Field(min_length=1)
Repeat = tuple[PositiveInt, PositiveInt]


class RattleConfig(Section):
    """See `generation.Rattle`."""

    kind: Literal["rattle"]
    amplitudes_A: Annotated[tuple[PositiveFloat, ...], Several]
    copies: PositiveInt = 1


class StrainConfig(Section):
    """See `generation.Strain`."""

    kind: Literal["strain"]
    limit: float = Field(gt=0.0, lt=0.5)
    copies: PositiveInt = 1


class VolumeScanConfig(Section):
    """See `generation.VolumeScan`."""

    kind: Literal["volume_scan"]
    smallest: PositiveFloat = 0.9
    largest: PositiveFloat = 1.1
    points: PositiveInt = 5


class VacanciesConfig(Section):
    """See `generation.Vacancies`."""

    kind: Literal["vacancies"]
    counts: Annotated[tuple[PositiveInt, ...], Several] = (1,)
    copies: PositiveInt = 1


class SwapsConfig(Section):
    """See `generation.Swaps`."""

    kind: Literal["swaps"]
    counts: Annotated[tuple[PositiveInt, ...], Several] = (1,)
    copies: PositiveInt = 1


class BulkConfig(Section):
    """See `generation.Bulk`."""

    kind: Literal["bulk"]
    element: str
    crystalstructure: str | None = None
    a: PositiveFloat | None = None
    c: PositiveFloat | None = None
    cubic: bool = False
    repeat: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)


class SlabConfig(Section):
    """See `generation.Slab`."""

    kind: Literal["slab"]
    miller: tuple[int, int, int]
    layers: Annotated[tuple[PositiveInt, ...], Several]
    vacuum_A: PositiveFloat = 8.0
    repeat: Repeat = (1, 1)
    periodic: bool = True

    @model_validator(mode="after")
    def _a_plane(self) -> SlabConfig:
        if not any(self.miller):
            raise ValueError("miller: 0 0 0 is no plane")
        return self


class StandardSlabConfig(Section):
    """See `generation.StandardSlab`."""

    kind: Literal["standard_slab"]
    builder: str
    element: str
    layers: Annotated[tuple[PositiveInt, ...], Several]
    vacuum_A: PositiveFloat = 8.0
    repeat: Repeat = (1, 1)
    a: PositiveFloat | None = None
    c: PositiveFloat | None = None
    periodic: bool = True


class DynamicsConfig(Section):
    """One `generation.Dynamics` for each of the temperatures and pressures, which may be ramps."""

    kind: Literal["md"]
    temperatures_K: Annotated[tuple[TemperatureSchedule, ...], Several]
    pressures_GPa: tuple[PressureSchedule, ...] = ()
    steps: PositiveInt
    interval: PositiveInt
    equilibration: NonNegativeInt = 0
    timestep_fs: PositiveFloat = 1.0
    ensemble: EnsembleConfig = LangevinConfig()
    tau: float | None = None
    tau_rel: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def _one_strength(self) -> DynamicsConfig:
        if self.tau is not None and self.tau_rel is not None:
            raise ValueError("give tau or tau_rel, not both")
        return self

    @model_validator(mode="after")
    def _pressures_where_used(self) -> DynamicsConfig:
        if (self.ensemble.kind == "npt") != bool(self.pressures_GPa):
            raise ValueError("pressures_GPa and ensemble npt need each other")
        return self


StepConfig = Annotated[
    RattleConfig
    | StrainConfig
    | VolumeScanConfig
    | VacanciesConfig
    | SwapsConfig
    | BulkConfig
    | SlabConfig
    | StandardSlabConfig
    | DynamicsConfig,
    Field(discriminator="kind"),
]


class ChainConfig(Section):
    """See `generation.Chain`; one chain for each combination of its temperatures and pressures."""

    kind: Literal["chain"]
    steps: Annotated[tuple[StepConfig, ...], Several]


RecipeConfig = Annotated[StepConfig | ChainConfig, Field(discriminator="kind")]


class ScreenConfig(GuardsConfig):
    """What a candidate must not be; see `generation.Screen`."""

    max_volume_ratio: Annotated[float, Field(gt=1.0)] = 2.0
    near: NonNegativeFloat = 0.01


class PoolConfig(Section):
    """What ``bayesel pool`` makes.

    A surrogate, for uncertainties and biased MD, is a saved one or is fitted to ``data``, whose
    training set then belongs to the ``core``. Without one, ``descriptor`` alone finds near
    copies. The potential of MD is the surrogate's mean, if none is given.
    """

    seed: int = Field(0, ge=0)
    threads: Threads = 1
    starts: InputPath | None = None
    core: InputPath | None = None
    surrogate: InputPath | None = None
    data: DataConfig | None = None
    descriptor: DescriptorConfig | None = None
    potential: PotentialConfig | None = None
    screen: ScreenConfig = ScreenConfig()
    recipes: Annotated[tuple[RecipeConfig, ...], Several]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> PoolConfig:
        if self.surrogate is not None and self.data is not None:
            raise ValueError("give surrogate or data, not both")
        if self.data is not None and self.descriptor is None:
            raise ValueError("data: a surrogate is fitted with a descriptor, which is missing")
        if self.data is not None and self.data.test is not None:
            raise ValueError("data.test: a pool has no use for it")
        return self
