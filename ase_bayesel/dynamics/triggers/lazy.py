"""Triggers that are evaluated only where they may fire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from ...bias.prediction import Prediction
from .base import Trigger, TriggerReport
from .combined import AllOf, AnyOf

MARGIN = 1.5
MEMORY = 3
"""See `LazyCheck`."""


@dataclass(frozen=True)
class LazyCheck:
    """A trigger that is evaluated only where it may fire, judged by what costs little.

    |grad_i sigma_E| is one component of the force deviation of an atom, and comes with
    the separate bias force. It gives an indicator of the criterion; the last evaluations
    tell by which factor the criterion exceeds its indicator. Where `MARGIN` times the
    largest of these factors leaves the criterion below the threshold, the trigger
    is not evaluated. The first check, exact predictions, triggers without ``scales`` and
    indicators that are not finite always are.

    Members of a combination are checked one by one in this way. Those of `AllOf` that come
    after one that does not fire are left out; skipped members leave no report.

    Attributes
    ----------
    trigger
        What is checked.
    lazy
        False to evaluate it, and all members of a combination, every time.
    ratios
        Criterion over indicator in the last `MEMORY` evaluations; of a combination, those of
        each member.
    """

    trigger: Trigger
    lazy: bool = True
    ratios: tuple[Any, ...] = ()

    def __call__(
        self, prediction: Prediction, atoms: Atoms
    ) -> tuple[TriggerReport | None, LazyCheck]:
        """The trigger's report, None where it was not evaluated, and the next check."""
        if isinstance(self.trigger, AnyOf | AllOf):
            return self._combined(self.trigger, prediction, atoms)
        scales = getattr(self.trigger, "scales", None)
        if not self.lazy or scales is None or not prediction.searched:
            return self.trigger(prediction, atoms), self
        indicator = _indicator(prediction.force_std_bound, scales(prediction))
        if self.ratios and MARGIN * max(self.ratios) * indicator < self.trigger.threshold:
            return None, self
        report = self.trigger(prediction, atoms)
        if not (report.value > 0 and 0 < indicator < np.inf):
            return report, self
        ratios = (*self.ratios, report.value / indicator)[-MEMORY:]
        return report, replace(self, ratios=ratios)

    def forgotten(self) -> LazyCheck:
        """A check that has learnt nothing yet, for a new surrogate."""
        return replace(self, ratios=())

    def _combined(
        self, trigger: AnyOf | AllOf, prediction: Prediction, atoms: Atoms
    ) -> tuple[TriggerReport | None, LazyCheck]:
        ratios = list(self.ratios or ((),) * len(trigger.members))
        reports, skipped = [], False
        for k, member in enumerate(trigger.members):
            report, check = LazyCheck(member, self.lazy, ratios[k])(prediction, atoms)
            ratios[k] = check.ratios
            skipped = skipped or report is None
            if report is not None:
                reports.append(report)
            out = report is None or not report.fired
            if self.lazy and out and isinstance(trigger, AllOf):
                break
        known = bool(reports) and not (skipped and isinstance(trigger, AllOf))
        return trigger.joined(reports) if known else None, replace(self, ratios=tuple(ratios))


def _indicator(bound: np.ndarray, scales: np.ndarray) -> float:
    """Largest |grad_i sigma_E| / scale, with twice the mean square of all atoms added in.

    One component of an atom's deviation may vanish by chance where the others do not.
    """
    return float(np.max(np.sqrt(bound**2 + 2.0 * np.mean(bound**2)) / scales))
