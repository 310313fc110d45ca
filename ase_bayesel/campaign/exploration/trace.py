"""What an exploration leaves of its walkers in numbers: the trace of the triggers, and endings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...dynamics.statuses import CALCULATOR

UNHARMED = ("running", "finished")
FAULTS = (CALCULATOR, "nan")
"""Statuses of walkers that an error has stopped."""
LIMITS = {
    "close_contact": "guards.close_contact",
    "force": "guards.max_force",
    "temperature": "guards.max_temperature_K",
    "volume": "guards.volume_ratio",
    "lost_atoms": "guards.lost_atoms or escape_A",
    "melted": "guards.melted",
}
"""The limit that a walker of each status has passed."""
TRACE_COLUMNS = ("walker", "step", "temperature_K", "energy_std", "value", "tau", "picked")
WALKER, STEP, TEMPERATURE, ENERGY_STD, VALUE, TAU, PICKED = range(len(TRACE_COLUMNS))


class Ending(NamedTuple):
    """How a walker was stopped: at which step, by what, and what its calculator said."""

    walker: int
    step: int
    status: str
    message: str

    def __str__(self) -> str:
        limit = LIMITS.get(self.status)
        told = self.message or (f"beyond {limit}" if limit else "")
        said = f": {told}" if told else ""
        return f"walker {self.walker} stopped at step {self.step} ({self.status}){said}"

    @property
    def failed(self) -> bool:
        """Whether it was by an error, or before its first step; else it came to a guard's limit."""
        return self.status in FAULTS or self.step == 0


def endings_of(walkers: Iterable[tuple[int, str, str]]) -> tuple[Ending, ...]:
    """Of the walkers with these steps, statuses and messages, those that were stopped."""
    return tuple(
        Ending(k, *walker) for k, walker in enumerate(walkers) if walker[1] not in UNHARMED
    )


def all_failed(endings: Sequence[Ending], n_walkers: int) -> bool:
    """Whether every walker was stopped by an error."""
    return 0 < n_walkers == sum(ending.failed for ending in endings)


def extended(trace: np.ndarray, rows: Sequence[Sequence[float]]) -> np.ndarray:
    """A trace with further rows."""
    return np.concatenate([trace, np.reshape(rows, (-1, len(TRACE_COLUMNS)))])


def rows_of(trace: np.ndarray, walker: int, step: int) -> np.ndarray:
    """Numbers of the rows of a walker's step, in the order of the decisions."""
    return np.flatnonzero((trace[:, WALKER] == walker) & (trace[:, STEP] == step))
