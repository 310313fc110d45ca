"""How far a walker may go: where the potential of the last fit can be trusted.

Two posteriors answer two questions. The updated one, which knows the picks since the last fit,
says what is new: it drives bias and triggers. That of the last fit says where the potential that
moves the atoms can be trusted. Without a bound a walker goes on where its potential is wrong, and
extreme labels cost a finite model accuracy everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from ..bias.prediction import Prediction
from ..errors import BayeselError
from ..io.magnitudes import Positive
from ..surrogate.surrogate import Surrogate
from .guards import Fault
from .triggers import (
    AnyOf,
    ForceTrigger,
    LazyCheck,
    RelativeForceTrigger,
    Trigger,
    TriggerReport,
    compared,
    scaled,
)

RETURN = "trust_bound"
"""The reason of a walker's return, as of a rollback."""


@dataclass(frozen=True)
class TrustBound:
    """Beyond what a walker does not go on, by the posterior of the last fit.

    Any of the limits that are given ends the way. The default follows the trigger and
    `EnergyWeights`, so that no number is of one material.

    Attributes
    ----------
    relative
        Limit of max_i sigma_F,i / (|F_i| + eps), no unit. None for no such limit.
    absolute
        Limit of the largest sigma_F,i, eV/A: a relative one falls where a wrong force
        explodes. None for no such limit.
    eps
        eV/A, of the relative limit.
    factor
        Limit of the trigger's own criterion, in units of its threshold. None for no such limit.
    energy
        Limit of dE / s, no unit: dE is the predicted energy per atom above the lowest that is
        known of the composition, s the scale of `EnergyWeights`; without these there is no such
        limit. At 3 the noise of a label's rows is sixteen times the usual one, and there is
        little to learn further up. None for no such limit.
    """

    relative: Positive | None = None
    absolute: Positive | None = None
    eps: Positive = 0.2
    factor: Positive | None = 3.0
    energy: Positive | None = 3.0

    def __post_init__(self) -> None:
        if all(x is None for x in (self.factor, self.energy, self.relative, self.absolute)):
            raise ValueError("give at least one limit: factor, energy, relative or absolute")

    def criterion(self, triggers: Sequence[Trigger] = ()) -> Trigger | None:
        """The trigger that fires beyond the limits of uncertainty; None where there are none.

        ``triggers`` are those of the walker, with their thresholds.
        """
        members: list[Trigger] = []
        if self.factor is not None:
            members += [scaled(trigger, self.factor) for trigger in triggers]
        if self.relative is not None:
            members.append(RelativeForceTrigger(self.relative, self.eps))
        if self.absolute is not None:
            members.append(ForceTrigger(self.absolute))
        return AnyOf(tuple(members)) if members else None

    def against(
        self, surrogate: Surrogate, start: Atoms, triggers: Sequence[Trigger] = ()
    ) -> Trust:
        """The bound for one walker.

        Parameters
        ----------
        surrogate
            Of the last fit.
        start
            Where the walker goes back to.
        triggers
            The walker's, for ``factor``.
        """
        criterion = self.criterion(triggers)
        check = None if criterion is None else LazyCheck(criterion)
        return Trust(check, surrogate, start, self.energy)


@dataclass(frozen=True)
class Trust:
    """A bound, the surrogate of the last fit, and where the walker goes back to.

    ``check`` has learnt from the evaluations so far, see `LazyCheck`; ``energy`` is that of
    `TrustBound`.
    """

    check: LazyCheck | None
    surrogate: Surrogate
    start: Atoms
    energy: float | None = None

    @property
    def ratios(self) -> tuple[Any, ...]:
        """What has been learnt."""
        return () if self.check is None else self.check.ratios

    def with_ratios(self, ratios: tuple[Any, ...]) -> Trust:
        """The same, having learnt these ratios (`LazyCheck.ratios`)."""
        return (
            self if self.check is None else replace(self, check=replace(self.check, ratios=ratios))
        )

    def looked_at(
        self, prediction: Prediction, atoms: Atoms
    ) -> tuple[Trust, TriggerReport | None, Fault | None]:
        """The next `Trust`, the report where one was made, and what is wrong with the frame."""
        by_energy = self._rise(prediction, atoms)
        if by_energy is not None and by_energy.fired:
            return self, by_energy, None if np.isfinite(by_energy.value) else Fault("nan")
        if self.check is None:
            return self, by_energy, None
        try:
            last_fit = prediction
            if not _same(prediction.surrogate, self.surrogate):
                last_fit = prediction.under(self.surrogate)
            report, check = self.check(last_fit, atoms)
        except BayeselError as error:
            return self, None, Fault.by(error)
        broken = None if report is None or np.isfinite(report.value) else Fault("nan")
        return replace(self, check=check), report, broken

    def _rise(self, prediction: Prediction, atoms: Atoms) -> TriggerReport | None:
        """dE / s of a frame against its limit."""
        weights = self.surrogate.energy_weights
        if self.energy is None or weights is None:
            return None
        rise = weights.rise(atoms, prediction.energy - self.surrogate.baseline(atoms))
        return compared("energy_above_lowest", rise / weights.scale, self.energy)


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
