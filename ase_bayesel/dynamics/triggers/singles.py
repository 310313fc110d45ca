"""The single triggers of a combination: what of them is to be calibrated, and how they search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass, replace

from ...errors import ConfigError
from ...surrogate.force_uncertainty import ForceSearch
from .base import Trigger
from .combined import AllOf, AnyOf
from .uncalibrated import Uncalibrated


def single_triggers(trigger: Trigger) -> Iterator[Trigger]:
    """The single triggers of a combination, from left to right."""
    if isinstance(trigger, AnyOf | AllOf):
        for member in trigger.members:
            yield from single_triggers(member)
    else:
        yield trigger


def probes(trigger: Trigger) -> list[Trigger]:
    """The single triggers from left to right; those to be calibrated with the threshold 0."""
    return [
        single.probe if isinstance(single, Uncalibrated) else single
        for single in single_triggers(trigger)
    ]


def uncalibrated(trigger: Trigger) -> list[Uncalibrated]:
    """Those of a trigger's single ones whose thresholds are not given as numbers."""
    return [single for single in single_triggers(trigger) if isinstance(single, Uncalibrated)]


def with_thresholds(trigger: Trigger, thresholds: Sequence[float]) -> Trigger:
    """The trigger with the thresholds that were found for `uncalibrated`, in that order.

    Raises
    ------
    ConfigError
        If there are fewer of them.
    """
    return _with_next(trigger, iter(thresholds))


def _with_next(trigger: Trigger, thresholds: Iterator[float]) -> Trigger:
    if isinstance(trigger, AnyOf | AllOf):
        return replace(trigger, members=tuple(_with_next(m, thresholds) for m in trigger.members))
    if not isinstance(trigger, Uncalibrated):
        return trigger
    threshold = next(thresholds, None)
    if threshold is None:
        raise ConfigError(f"trigger {trigger.kind}: its threshold has not been calibrated")
    return trigger.calibrated(threshold)


def scaled(trigger: Trigger, factor: float) -> Trigger:
    """The trigger with all thresholds multiplied by ``factor``.

    Raises
    ------
    TypeError
        If it is no dataclass with a threshold.
    """
    if isinstance(trigger, AnyOf | AllOf):
        return replace(trigger, members=tuple(scaled(m, factor) for m in trigger.members))
    if not is_dataclass(trigger) or isinstance(trigger, type):
        raise TypeError(f"cannot scale the threshold of {trigger!r}: it is no dataclass")
    return replace(trigger, threshold=factor * trigger.threshold)


def force_search(trigger: Trigger) -> ForceSearch | None:
    """How force triggers search; None where one of them wants all deviations exactly."""
    exact = any(getattr(probe, "exact", False) for probe in probes(trigger))
    return None if exact else ForceSearch()
