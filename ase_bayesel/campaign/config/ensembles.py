"""Ensembles and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, PositiveFloat

from ...dynamics.schedules import Ramp, Schedule, values_of
from .base import Section


def _schedule(least: float | None, included: bool = True) -> Callable[[Any], Schedule]:
    """A validator of a number or a list of [step, value], with a bound for the values."""

    def checked(given: Any) -> Schedule:
        schedule = given if isinstance(given, Ramp) else _parsed(given)
        for value in values_of(schedule):
            if not abs(value) < float("inf"):
                raise ValueError("must be finite")
            if least is not None and (value < least or (value == least and not included)):
                raise ValueError(f"must be {'at least' if included else 'above'} {least:g}")
        return schedule

    return checked


def _parsed(given: Any) -> Schedule:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    try:
        points = [(step, float(value)) for step, value in given]
    except (TypeError, ValueError):
        raise ValueError("expected a number, or a ramp as [[step, value], ...]") from None
    if not all(type(step) is int and step >= 0 for step, _ in points):
        raise ValueError("a ramp's steps must be whole numbers from 0 on")
    return Ramp(tuple(points))


def _dumped(schedule: Schedule) -> Any:
    return [list(point) for point in schedule.points] if isinstance(schedule, Ramp) else schedule


_as_json = PlainSerializer(_dumped)
TemperatureSchedule = Annotated[Schedule, PlainValidator(_schedule(0.0, False)), _as_json]
PressureSchedule = Annotated[Schedule, PlainValidator(_schedule(None)), _as_json]
TauRelSchedule = Annotated[Schedule, PlainValidator(_schedule(0.0)), _as_json]


class NVEConfig(Section):
    """See `ensembles.NVE`."""

    kind: Literal["nve"]


class LangevinConfig(Section):
    """See `ensembles.Langevin`."""

    kind: Literal["langevin"] = "langevin"
    friction_per_fs: PositiveFloat = 0.01


class BussiConfig(Section):
    """See `ensembles.Bussi`."""

    kind: Literal["bussi"]
    time_constant_fs: PositiveFloat = 100.0


class NoseHooverChainConfig(Section):
    """See `ensembles.NoseHooverChain`."""

    kind: Literal["nose_hoover_chain"]
    time_constant_fs: PositiveFloat = 100.0


class NPTConfig(Section):
    """See `ensembles.NPT`."""

    kind: Literal["npt"]
    cell: Literal["volume", "axes", "full"] = "volume"
    axes: tuple[bool, bool, bool] = (True, True, True)
    thermostat_fs: PositiveFloat = 100.0
    barostat_fs: PositiveFloat = 1000.0


EnsembleConfig = Annotated[
    NVEConfig | LangevinConfig | BussiConfig | NoseHooverChainConfig | NPTConfig,
    Field(discriminator="kind"),
]
