"""When to pick a structure, and when to stop a trajectory that went wrong.

A trigger looks at the unbiased prediction and its uncertainty; a guard looks at
the atoms. Neither changes anything.
"""

from ..guards import Guards
from .base import Trigger, TriggerReport
from .calibration import leave_one_out, quantile_threshold, reported_criteria, training_criteria
from .combined import AllOf, AnyOf
from .criteria import (
    UNITS,
    EnergyTrigger,
    ForceTrigger,
    InformationTrigger,
    LocalEnergyTrigger,
    RelativeForceTrigger,
    StressTrigger,
)
from .lazy import MARGIN, MEMORY, LazyCheck
from .picks import PickRule, PickState

__all__ = [
    "MARGIN",
    "MEMORY",
    "UNITS",
    "AllOf",
    "AnyOf",
    "EnergyTrigger",
    "ForceTrigger",
    "Guards",
    "InformationTrigger",
    "LazyCheck",
    "LocalEnergyTrigger",
    "PickRule",
    "PickState",
    "RelativeForceTrigger",
    "StressTrigger",
    "Trigger",
    "TriggerReport",
    "leave_one_out",
    "quantile_threshold",
    "reported_criteria",
    "training_criteria",
]
