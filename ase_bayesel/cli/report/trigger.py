"""A trigger in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...campaign.config import ExploreConfig
from ...dynamics.triggers import UNITS, AllOf, AnyOf, Trigger, Uncalibrated
from ...errors import StoreError

ORIGINS = {"training": "of the training set left out in turn", "md": "in unbiased MD"}


def trigger_text(trigger: Trigger, calibrated: Iterator[float]) -> str:
    """A trigger in words; ``calibrated`` are the thresholds found, left to right."""
    if isinstance(trigger, AnyOf | AllOf):
        members = "; ".join(trigger_text(member, calibrated) for member in trigger.members)
        return f"{trigger.kind} of ({members})"
    if not isinstance(trigger, Uncalibrated):
        return f"{_kind(trigger)} above {trigger.threshold}{_unit(trigger)}"
    threshold, how = next(calibrated, None), trigger.how
    found = f"{threshold:.4g}{_unit(trigger.probe)}" if threshold is not None else None
    return (
        f"{trigger.kind} above {found or 'a number to be calibrated'} ({how.factor} times the "
        f"{how.quantile} quantile {ORIGINS[how.calibrate]})"
    )


def start_text(explore: Mapping[str, Any]) -> str:
    """What picks starts beside the trigger, after a semicolon; empty if nothing does.

    ``explore`` is the section of a stored config; one of before there was a limit has none.
    """
    if explore.get("start_energy") is None:
        return ""
    try:
        limit = ExploreConfig.model_validate(explore).start_energy_limit
    except ValueError as error:
        raise StoreError(f"config.json: explore cannot be read ({error})") from error
    return "" if limit is None else f"; at a start, energy_per_atom above {limit:.4g} eV/atom"


def _kind(trigger: Trigger) -> str:
    return str(getattr(trigger, "kind", type(trigger).__name__))


def _unit(trigger: Trigger) -> str:
    """The unit of a threshold after a space; empty where it has none."""
    unit = UNITS.get(_kind(trigger))
    return f" {unit}" if unit else ""
