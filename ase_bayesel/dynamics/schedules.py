"""Schedules: values that are constant or follow a ramp, as functions of the absolute step."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


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
