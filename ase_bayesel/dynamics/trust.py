"""How far a walker may go: where the potential of the last fit can be trusted.

Two posteriors answer two questions. The updated one, which knows the picks since the last fit,
says what is new: it drives bias and triggers. That of the last fit says where the potential that
moves the atoms can be trusted. Without a bound a walker goes on where its potential is wrong, and
extreme labels cost a finite model accuracy everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from ..bias.prediction import Prediction
from ..errors import BayeselError
from ..io.fields import PositiveFloat
from ..surrogate.surrogate import Surrogate
from .triggers import AnyOf, ForceTrigger, LazyCheck, RelativeForceTrigger, Trigger, TriggerReport

RETURN = "trust_bound"
"""The reason of a walker's return, as of a rollback."""


@dataclass(frozen=True)
class TrustBound:
    """The force uncertainty of the last fit beyond which a walker does not go on.

    Attributes
    ----------
    relative
        Limit of max_i sigma_F,i / (|F_i| + eps), no unit: two to four times the threshold of a
        relative force trigger with the same ``eps``. None for no such limit.
    absolute
        Limit of the largest sigma_F,i, eV/A: the relative one falls where a wrong force
        explodes. None for no such limit.
    eps
        eV/A, of the relative limit.
    """

    relative: PositiveFloat | None = 0.5
    absolute: PositiveFloat | None = None
    eps: PositiveFloat = 0.2

    def __post_init__(self) -> None:
        if self.relative is None and self.absolute is None:
            raise ValueError("give a relative or an absolute limit, or both")

    @property
    def criterion(self) -> Trigger:
        """The trigger that fires beyond the bound."""
        members: list[Trigger] = []
        if self.relative is not None:
            members.append(RelativeForceTrigger(self.relative, self.eps))
        if self.absolute is not None:
            members.append(ForceTrigger(self.absolute))
        return AnyOf(tuple(members))

    def against(self, surrogate: Surrogate, start: Atoms) -> Trust:
        """The bound for one walker.

        Parameters
        ----------
        surrogate
            Of the last fit.
        start
            Where the walker goes back to.
        """
        return Trust(LazyCheck(self.criterion), surrogate, start)


@dataclass(frozen=True)
class Trust:
    """A bound, the surrogate of the last fit, and where the walker goes back to.

    ``check`` has learnt from the evaluations so far, see `LazyCheck`.
    """

    check: LazyCheck
    surrogate: Surrogate
    start: Atoms

    def with_ratios(self, ratios: tuple[Any, ...]) -> Trust:
        """The same, having learnt these ratios (`LazyCheck.ratios`)."""
        return replace(self, check=replace(self.check, ratios=ratios))

    def looked_at(
        self, prediction: Prediction, atoms: Atoms
    ) -> tuple[Trust, TriggerReport | None, str | None]:
        """The next `Trust`, the report where one was made, and what is wrong with the frame."""
        try:
            last_fit = prediction
            if not _same(prediction.surrogate, self.surrogate):
                last_fit = prediction.under(self.surrogate)
            report, check = self.check(last_fit, atoms)
        except BayeselError:
            return self, None, "calculator_error"
        broken = None if report is None or np.isfinite(report.value) else "nan"
        return replace(self, check=check), report, broken


def _same(one: Surrogate, other: Surrogate) -> bool:
    """Whether nothing has been picked since the last fit, also after a restart."""
    if one.posterior is other.posterior:
        return True
    ours, theirs = one.posterior.precision_factor, other.posterior.precision_factor
    # more rows change the last diagonal element, and the whole costs too much at every check
    return np.array_equal(np.diagonal(ours), np.diagonal(theirs)) and np.array_equal(ours, theirs)


@dataclass(frozen=True)
class BoundFrame:
    """The frame at which a walker met its bound, and what was seen there.

    Attributes
    ----------
    atoms
        With momenta.
    prediction
        Of the frame, under the updated posterior.
    temperature_K
        Instantaneous temperature.
    reports
        Of the triggers, under the updated posterior: the frame may be a candidate.
    bound
        Of the bound, under the posterior of the last fit.
    """

    atoms: Atoms
    prediction: Prediction
    temperature_K: float
    reports: tuple[TriggerReport, ...]
    bound: TriggerReport
