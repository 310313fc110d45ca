"""Triggers combined by any or all; they nest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from ase import Atoms

from ...bias.prediction import Prediction
from ...io.fields import Several
from .base import Trigger, TriggerReport
from .uncalibrated import TriggerKinds


def _all() -> Sequence[type]:
    from . import TRIGGERS

    return TRIGGERS


AnyTrigger = Annotated[Trigger, TriggerKinds(_all, default="relative_force")]
"""A trigger, as a config describes it."""


@dataclass(frozen=True)
class AnyOf:
    """Fires when one of its members does.

    The value is the largest ratio of a member's value to its threshold, so the threshold is 1;
    the atom is that of the member with this ratio. Members need positive thresholds.
    """

    kind: ClassVar[str] = "any"
    threshold: ClassVar[float] = 1.0

    members: Annotated[tuple[AnyTrigger, ...], Several]

    def __post_init__(self) -> None:
        _check_members(self.kind, self.members)

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return self.joined([member(prediction, atoms) for member in self.members])

    def joined(self, reports: Sequence[TriggerReport]) -> TriggerReport:
        """One report from those of its members."""
        fired = any(report.fired for report in reports)
        leader = reports[int(np.argmax([report.ratio for report in reports]))]
        return _report(self.kind, fired, leader, reports)


@dataclass(frozen=True)
class AllOf:
    """Fires when all of its members do at the same frame.

    The value is the smallest ratio of a member's value to its threshold, so the threshold is 1;
    the atom is that of the member with this ratio. Members need positive thresholds. Where
    checks are lazy (see `LazyCheck`) members are evaluated in their order until one does not
    fire: put those first that cost little.
    """

    kind: ClassVar[str] = "all"
    threshold: ClassVar[float] = 1.0

    members: Annotated[tuple[AnyTrigger, ...], Several]

    def __post_init__(self) -> None:
        _check_members(self.kind, self.members)

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return self.joined([member(prediction, atoms) for member in self.members])

    def joined(self, reports: Sequence[TriggerReport]) -> TriggerReport:
        """One report from those of its members, or of those up to one that did not fire."""
        fired = all(report.fired for report in reports)
        leader = reports[int(np.argmin([report.ratio for report in reports]))]
        return _report(self.kind, fired, leader, reports)


def _check_members(name: str, members: tuple[Trigger, ...]) -> None:
    if not isinstance(members, tuple) or not members:
        raise ValueError(f"{name}: give a tuple of at least one trigger")
    for member in members:
        if not member.threshold > 0:
            raise ValueError(
                f"{name}: members are compared by value over threshold, so thresholds must be "
                f"positive; got {member}"
            )


def _report(
    name: str, fired: bool, leader: TriggerReport, reports: Sequence[TriggerReport]
) -> TriggerReport:
    return TriggerReport(name, leader.ratio, 1.0, fired, leader.atom_index, tuple(reports))
