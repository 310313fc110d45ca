"""Schedules: values that are constant or follow a ramp, as functions of a step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from ..io.numbers import no_boolean

LATEST = 10**12
"""Step of a ramp."""


@dataclass(frozen=True)
class Ramp:
    """A value that is piecewise linear in the absolute step, and constant outside.

    Attributes
    ----------
    points
        ``((step, value), ...)`` with increasing steps.

    Raises
    ------
    ValueError
        If there is no point, a step does not exceed the one before, or a value is
        not finite.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("a ramp needs at least one point (step, value)")
        steps = [step for step, _ in self.points]
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"a ramp's steps must increase, got {steps}")
        if not all(np.isfinite(value) for _, value in self.points):
            raise ValueError("a ramp's values must be finite")

    def at(self, step: int) -> float:
        """The value at a step."""
        k = bisect_right(self.points, step, key=lambda point: point[0])
        if k in (0, len(self.points)):
            return float(self.points[max(k - 1, 0)][1])
        (first, start), (last, end) = self.points[k - 1 : k + 1]
        return float(start + (end - start) * (step - first) / (last - first))


Schedule = float | Ramp
"""A constant, or a ramp."""


def value_at(schedule: Schedule, step: int) -> float:
    """The value of a schedule at an absolute step."""
    return schedule.at(step) if isinstance(schedule, Ramp) else float(schedule)


def values_of(schedule: Schedule) -> tuple[float, ...]:
    """The constant, or the values at a ramp's points; all others lie between these."""
    if isinstance(schedule, Ramp):
        return tuple(float(value) for _, value in schedule.points)
    return (float(schedule),)


def _schedule(least: float, most: float) -> Callable[[Any], Schedule]:
    """A validator of a number or a list of [step, value], with bounds for the values."""

    def checked(given: Any) -> Schedule:
        schedule = given if isinstance(given, Ramp) else _parsed(given)
        for value in values_of(schedule):
            if not abs(value) < float("inf"):
                raise ValueError("must be finite")
            if value < least:
                raise ValueError(f"must be at least {least:g}")
            if value > most:
                raise ValueError(f"must be at most {most:g}")
        return schedule

    return checked


def _parsed(given: Any) -> Schedule:
    if isinstance(no_boolean(given), int | float):
        return float(given)
    try:
        points = [(step, float(no_boolean(value))) for step, value in given]
    except (TypeError, ValueError):
        raise ValueError("expected a number, or a ramp as [[step, value], ...]") from None
    if not all(type(step) is int and 0 <= step <= LATEST for step, _ in points):
        raise ValueError(f"a ramp's steps must be whole numbers from 0 to {LATEST:g}")
    return Ramp(tuple(points))


def schedule_as_json(schedule: Schedule) -> Any:
    """The number, or the points as lists."""
    return [list(point) for point in schedule.points] if isinstance(schedule, Ramp) else schedule


_as_json = PlainSerializer(schedule_as_json)
TEMPERATURES_K, PRESSURES_GPA, TAU_RELS, CENTRES = (1e-3, 1e6), (-1e6, 1e6), (0.0, 1e3), (-1e6, 1e6)
"""Least and greatest values of schedules."""


def _forms(least: float, most: float) -> WithJsonSchema:
    value = {"type": "number", "minimum": least, "maximum": most}
    step = {"type": "integer", "minimum": 0, "maximum": LATEST}
    point = {"type": "array", "prefixItems": [step, value], "minItems": 2, "maxItems": 2}
    return WithJsonSchema({"anyOf": [value, {"type": "array", "items": point}]})


TemperatureSchedule = Annotated[
    Schedule, PlainValidator(_schedule(*TEMPERATURES_K)), _as_json, _forms(*TEMPERATURES_K)
]
PressureSchedule = Annotated[
    Schedule, PlainValidator(_schedule(*PRESSURES_GPA)), _as_json, _forms(*PRESSURES_GPA)
]
TauRelSchedule = Annotated[
    Schedule, PlainValidator(_schedule(*TAU_RELS)), _as_json, _forms(*TAU_RELS)
]
CentreSchedule = Annotated[
    Schedule, PlainValidator(_schedule(*CENTRES)), _as_json, _forms(*CENTRES)
]
