"""A recipe that takes snapshots of molecular dynamics, biased or plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, ClassVar

import numpy as np
from ase import Atoms
from pydantic import (
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)

from ..bias.calculator import BiasedCalculator
from ..bias.tau import TauRule
from ..bias.unbiased import UnbiasedCalculator
from ..dynamics.ensembles import NPT, AnyEnsemble, Langevin, check_ensemble
from ..dynamics.schedules import (
    PressureSchedule,
    Schedule,
    TemperatureSchedule,
    schedule_as_json,
    value_at,
    values_of,
)
from ..dynamics.walkers import run_walker
from ..errors import GenerationError
from ..io.fields import Several
from ..io.magnitudes import RelativeStrength, Steps, StepsOrNone, Strength, Timestep
from ..io.numbers import no_boolean
from .recipe import Candidate, Context, Recipe, Rejected, derived

_RELATIVE: TypeAdapter[float | None] = TypeAdapter(
    Annotated[RelativeStrength | None, BeforeValidator(no_boolean)],
    config=ConfigDict(allow_inf_nan=False),
)


def _relative(given: Any) -> float | None:
    """A config gives a number; in Python it may be a `TauRule`."""
    return _RELATIVE.validate_python(given)


_TEMPERATURES: TypeAdapter[tuple[Schedule, ...]] = TypeAdapter(
    Annotated[tuple[TemperatureSchedule, ...], Several]
)
_PRESSURES: TypeAdapter[tuple[Schedule, ...]] = TypeAdapter(tuple[PressureSchedule, ...])


def _temperatures(given: Any) -> tuple[Schedule, ...]:
    return _TEMPERATURES.validate_python(given)


def _pressures(given: Any) -> tuple[Schedule, ...]:
    return _PRESSURES.validate_python(given)


def _several(schedules: Schedule | tuple[Schedule, ...]) -> tuple[Schedule, ...]:
    return schedules if isinstance(schedules, tuple) else (schedules,)


def _dumped(schedules: Schedule | tuple[Schedule, ...]) -> list[Any]:
    return [schedule_as_json(schedule) for schedule in _several(schedules)]


Temperatures = Annotated[
    Schedule | tuple[Schedule, ...],
    PlainValidator(_temperatures),
    PlainSerializer(_dumped),
    WithJsonSchema(_TEMPERATURES.json_schema()),
]
Pressures = Annotated[
    Schedule | tuple[Schedule, ...],
    PlainValidator(_pressures),
    PlainSerializer(_dumped),
    WithJsonSchema(_PRESSURES.json_schema()),
]


@dataclass(frozen=True)
class Dynamics(Recipe):
    """Snapshots of MD every ``interval`` steps after the first ``equilibration`` steps.

    Attributes
    ----------
    temperatures_K, pressures_GPa
        Of `run_walker`; each may be a ramp, or a tuple of several ones, for each combination of
        which there is a trajectory. A pressure is given for NPT, and for nothing else.
    timestep_fs, ensemble
        Of `run_walker`.
    steps, interval, equilibration
        Numbers of MD steps.
    tau, tau_rel
        Strength of the bias as of `BiasedCalculator`, or neither for plain MD.

    A trajectory that a guard ends loses its later snapshots; they are counted under the
    walker's status, as ``"md_temperature"``.
    """

    kind: ClassVar[str] = "md"

    temperatures_K: Temperatures
    steps: Steps
    interval: Steps
    equilibration: StepsOrNone = 0
    timestep_fs: Timestep = 1.0
    ensemble: AnyEnsemble = Langevin()
    pressures_GPa: Pressures = ()
    tau: Strength | None = None
    tau_rel: Annotated[
        float | TauRule | None, PlainValidator(_relative), WithJsonSchema(_RELATIVE.json_schema())
    ] = None

    def __post_init__(self) -> None:
        if self.tau is not None and self.tau_rel is not None:
            raise ValueError("give tau or tau_rel, not both")
        if isinstance(self.ensemble, NPT) != (self.pressures_GPa != ()):
            raise ValueError("pressures_GPa and ensemble npt need each other")

    @property
    def conditions(self) -> tuple[tuple[Schedule, Schedule | None], ...]:
        """Temperature (K) and pressure (GPa) of each trajectory."""
        pressures: tuple[Schedule | None, ...] = _several(self.pressures_GPa) or (None,)
        return tuple(product(_several(self.temperatures_K), pressures))

    def variants(self) -> tuple[Recipe, ...]:
        """One for each condition."""
        return tuple(
            replace(self, temperatures_K=temperature, pressures_GPa=() if p is None else p)
            for temperature, p in self.conditions
        )

    @property
    def biased(self) -> bool:
        """Whether there is a bias."""
        return self.tau is not None or self.tau_rel is not None

    @property
    def name(self) -> str:
        """Short name, which tells what is special about it."""
        kind = "biased_md" if self.biased else "md"
        if len(self.conditions) > 1:
            return kind
        ((temperature, pressure),) = self.conditions
        name = f"{kind}_{_named(temperature)}K"
        return name if pressure is None else f"{name}_{_named(pressure)}GPa"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.conditions) * self._n_snapshots

    @property
    def _n_snapshots(self) -> int:
        """Of one trajectory."""
        return max(self.steps // self.interval - self.equilibration // self.interval, 0)

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a `GenerationError` without a potential, or a `StructureError` for a start."""
        if context.calculator is None:
            raise GenerationError(f"{self.name}: needs a potential")
        if self.biased and context.surrogate is None:
            raise GenerationError(f"{self.name}: a bias needs a surrogate")
        for number, start in enumerate(starts):
            where = f"{self.name}: start {number}"
            check_ensemble(self.ensemble, start, self.pressures_GPa != (), where)

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Snapshots of each trajectory."""
        for temperature, pressure in self.conditions:
            yield from self._trajectory(start, context, rng, temperature, pressure)

    def _trajectory(
        self,
        start: Atoms,
        context: Context,
        rng: np.random.Generator,
        temperature: Schedule,
        pressure: Schedule | None,
    ) -> Iterator[Candidate]:
        made, status = 0, "running"
        for step in run_walker(
            start,
            self._calculator(context),
            n_steps=self.steps,
            temperature_K=temperature,
            rng=rng,
            timestep_fs=self.timestep_fs,
            ensemble=self.ensemble,
            pressure_GPa=pressure,
            guards=context.guards,
        ):
            status = step.status
            if status != "running":
                break
            if step.step > self.equilibration and step.step % self.interval == 0:
                made += 1
                parameters = {"step": step.step, "temperature_K": value_at(temperature, step.step)}
                if pressure is not None:
                    parameters["pressure_GPa"] = value_at(pressure, step.step)
                yield derived(step.atoms, start, self.name, **parameters)
        yield from [Rejected(f"md_{status}")] * (self._n_snapshots - made)

    def _calculator(self, context: Context) -> Any:
        assert context.calculator is not None
        if not self.biased:
            return UnbiasedCalculator(context.calculator)
        assert context.surrogate is not None
        return BiasedCalculator(context.calculator, context.surrogate, self.tau, self.tau_rel)


def _named(schedule: Schedule) -> str:
    """The constant, or the ends of a ramp."""
    first, *_, last = (*values_of(schedule), values_of(schedule)[-1])
    return f"{first:g}" if first == last else f"{first:g}-{last:g}"
