"""When a campaign ends; where nothing triggered, how close it came and what goes on from there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import TypeAdapter

from ..dynamics.triggers import AllOf, AnyOf, AnyTrigger, Trigger, with_thresholds
from ..io.words import rounded
from .build.walkers import walker_options
from .config import ExploreConfig
from .exploration.trace import STEP, VALUE, WALKER

BELOW = 0.95
"""A threshold that would have fired, over the value that came closest."""
GO_ON = (
    "With another explore section (that threshold, more steps, a higher temperature, a stronger "
    "bias) the campaign explores this round again"
)


def closest_to_firing(
    explore: ExploreConfig,
    thresholds: Sequence[float],
    starts: Sequence[Atoms],
    trace: np.ndarray,
) -> str:
    """The value of a trigger that came closest to its threshold, and what would have fired.

    Empty where no trigger was evaluated.

    Parameters
    ----------
    explore
        The config's section.
    thresholds
        Those calibrated, from left to right.
    starts
        One per biased walker, whose own settings may hold a trigger.
    trace
        Of the round, `TRACE_COLUMNS`.
    """
    evaluated = trace[np.isfinite(trace[:, VALUE])]
    if not len(evaluated):
        return ""
    triggers = _triggers(explore, thresholds, starts)
    ratios = _over_thresholds(evaluated, triggers)
    walker, step, value = evaluated[np.argmax(ratios), [WALKER, STEP, VALUE]]
    if ratios.max() > 1:
        return (
            f": a trigger fired within {explore.pick.settling_fs:g} fs of a start alone "
            f"(explore.pick.settling_fs; walker {walker:.0f}, step {step:.0f}). {GO_ON}"
        )
    trigger, would = triggers[int(walker) % len(starts)], rounded(BELOW * value, 3)
    if isinstance(trigger, AnyOf | AllOf):  # their values are over the members' thresholds
        seen = f"{value:.4g} of its thresholds"
        lower = f"thresholds {would} times as high would have fired"
    else:
        seen = f"{value:.4g}, below its threshold of {trigger.threshold:.4g}"
        lower = f"{_section(trigger, float(would))} would have fired"
    if isinstance(trigger, AllOf):  # members after one that did not fire were not evaluated
        lower = f"it fires with thresholds {would} times as high at most"
    return (
        f": the largest value of a trigger was {seen} (walker {walker:.0f}, step {step:.0f}); "
        f"{lower}. {GO_ON}"
    )


def _section(trigger: Trigger, threshold: float) -> str:
    """The line of a config for a trigger with another threshold."""
    own = TypeAdapter[Trigger](AnyTrigger).dump_python(trigger, mode="json")
    values = {**own, "threshold": threshold}.items()
    return f"trigger: {{{', '.join(f'{key}: {_plain(value)}' for key, value in values)}}}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def count_fires(
    explore: ExploreConfig,
    thresholds: Sequence[float],
    starts: Sequence[Atoms],
    trace: np.ndarray,
) -> int:
    """At how many checks of a round a trigger's value was above its threshold.

    Parameters
    ----------
    explore, thresholds, starts, trace
        As of `closest_to_firing`.
    """
    evaluated = trace[np.isfinite(trace[:, VALUE])]
    if not len(evaluated):
        return 0
    return int(np.sum(_over_thresholds(evaluated, _triggers(explore, thresholds, starts)) > 1))


def _triggers(
    explore: ExploreConfig, thresholds: Sequence[float], starts: Sequence[Atoms]
) -> list[Trigger]:
    """The first trigger of each biased walker."""
    ours = [with_thresholds(explore.trigger, thresholds)]
    return [walker_options(explore, start, triggers=ours)["triggers"][0] for start in starts]


def _over_thresholds(evaluated: np.ndarray, triggers: Sequence[Trigger]) -> np.ndarray:
    """Values of a trace over the thresholds of their walkers' triggers."""
    limits = np.array([trigger.threshold for trigger in triggers])
    walkers = evaluated[:, WALKER].astype(int) % len(triggers)
    return np.asarray(evaluated[:, VALUE] / limits[walkers])
