"""When to pick a structure, and when to stop a trajectory that went wrong.

A trigger looks at the unbiased prediction and its uncertainty; a guard looks at
the atoms. Neither changes anything.
"""

from ..guards import Guards
from .base import Reported, Trigger, TriggerReport, compared
from .calibration import leave_one_out, quantile_threshold, reported_criteria, training_criteria
from .combined import AllOf, AnyOf, AnyTrigger
from .criteria import (
    EnergyTrigger,
    ForceTrigger,
    InformationTrigger,
    LocalEnergyTrigger,
    RelativeForceTrigger,
    StressTrigger,
)
from .lazy import MARGIN, MEMORY, LazyCheck
from .picks import PickRule, PickState
from .singles import force_search, probes, scaled, single_triggers, uncalibrated, with_thresholds
from .uncalibrated import Calibration, Uncalibrated

TRIGGERS: tuple[type, ...] = (
    *(RelativeForceTrigger, ForceTrigger, EnergyTrigger, StressTrigger),
    *(LocalEnergyTrigger, InformationTrigger, AnyOf, AllOf),
)
"""What a config can name by its kind."""
UNITS: dict[str, str] = {t.kind: t.unit for t in TRIGGERS if t not in (AnyOf, AllOf)}  # type: ignore[attr-defined]
"""Unit of each criterion's value and threshold, by its name."""

__all__ = [
    "MARGIN",
    "MEMORY",
    "TRIGGERS",
    "UNITS",
    "AllOf",
    "AnyOf",
    "AnyTrigger",
    "Calibration",
    "EnergyTrigger",
    "ForceTrigger",
    "Guards",
    "InformationTrigger",
    "LazyCheck",
    "LocalEnergyTrigger",
    "PickRule",
    "PickState",
    "RelativeForceTrigger",
    "Reported",
    "StressTrigger",
    "Trigger",
    "TriggerReport",
    "Uncalibrated",
    "compared",
    "force_search",
    "leave_one_out",
    "probes",
    "quantile_threshold",
    "reported_criteria",
    "scaled",
    "single_triggers",
    "training_criteria",
    "uncalibrated",
    "with_thresholds",
]
