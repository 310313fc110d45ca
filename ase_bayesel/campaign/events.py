"""What a running campaign tells: progress, a report per round, its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..structures.energy_shift import EnergyShift
from ..surrogate.outlook import Outlook
from ..surrogate.scales import Scales
from ..validation.quantity import Quantity

if TYPE_CHECKING:
    from ..labelling.labeller import LabelTally

MOST_NAMED = 10
"""So many labels with extreme forces, or walkers, are named one by one in a round."""


@dataclass(frozen=True)
class WalkerNow:
    """Where a walker is.

    Attributes
    ----------
    step, n_steps, status
        Its step, its last one, and ``running``, ``finished`` or why it was stopped.
    temperature_K, value
        At the last check of its first trigger that was evaluated lately; None for none.
    threshold
        With which the value is compared.
    bound
        The bound of trust in the unit of the value; None for none in this unit.
    returns
        How often it met its bound and went back.
    """

    step: int
    n_steps: int
    status: str
    temperature_K: float | None
    value: float | None
    threshold: float
    bound: float | None
    returns: int


@dataclass(frozen=True)
class Progress:
    """Something moved: ``done`` of ``total`` units of a stage of a round.

    ``walkers`` are those of an exploration, ``labels`` tells where labels are while they are
    computed, and ``warnings`` are what thermostats have told so far.
    """

    round_number: int
    stage: str
    done: int
    total: int
    detail: str = ""
    walkers: tuple[WalkerNow, ...] = ()
    labels: LabelTally | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExtremeLabel:
    """A label whose largest force (eV/A) exceeds a limit: it counts less in fits, or is set aside.

    ``name`` is the id of a pick, or says which frame of the training set it is.
    """

    name: str
    max_force: float
    set_aside: bool

    def __str__(self) -> str:
        fate = "set aside from the fit" if self.set_aside else "counts less in the fit"
        return f"{self.name} {fate}: its largest force is {self.max_force:.4g} eV/A"


@dataclass(frozen=True)
class SuspectLabel:
    """A label that screening has set aside: which, what does not fit, and the likely cause."""

    name: str
    found: str
    cause: str

    def __str__(self) -> str:
        return f"{self.name} set aside from the fit: {self.told}"

    @property
    def told(self) -> str:
        """The cause and what does not fit."""
        return f"{self.cause} ({self.found})"


@dataclass(frozen=True)
class RoundReport:
    """What one round did and how good the model is after it.

    Attributes
    ----------
    round_number
        0 is the model fitted to the given training set, or to the bootstrapped one.
    n_train
        Structures in the refit.
    n_labels
        Labels paid for in the campaign so far, those of a bootstrapped training set included.
    n_test
        How many of these are for the test alone, as a bootstrap's are that no fit takes.
    picks, failed
        Structures picked, and of these failed in labelling, in this round; of round 0 the failed
        ones are those of a bootstrapped training set.
    walkers
        How each walker ended.
    moves
        Attempts, accepted and failed ones of each kind of Monte Carlo move, all walkers together.
    noise
        Fitted noise of energy, forces and virial.
    scales
        By property, by what raw deviations are multiplied in a campaign (`Scales.in_campaign`, as
        JSON).
    energy_rmse, forces_rmse
        Errors on the test set, eV/atom and eV/A; None without a test set.
    rollbacks
        How often walkers were rolled back, all together.
    returns
        How often walkers met their bound of trust and went back to their start, all together.
    extreme
        Labels with extreme forces: of this round's picks; in round 0 of the given training set.
    stopped
        How walkers were stopped by a guard or an error, the first of them.
    suspects
        Labels of this round's picks that can hardly be right.
    warnings
        What looks wrong of the fit, a line each (`fit_warnings`).
    energy_shift
        Added to the energies of the potential after this round; None for none.
    checks, fires
        How often triggers were looked at in this round, and how often one had fired.
    intended
        Of what structures the outlook is: ``targets``, ``test`` or ``walkers``; empty for none.
    outlook
        By property, deviations over these structures and what a further batch would leave.
    properties
        Of the crystal that the config names; their standard deviations carry the scales.
    """

    round_number: int
    n_train: int
    n_labels: int
    picks: int = 0
    failed: int = 0
    walkers: tuple[str, ...] = ()
    moves: dict[str, list[int]] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    energy_rmse: float | None = None
    forces_rmse: float | None = None
    rollbacks: int = 0
    returns: int = 0
    extreme: tuple[ExtremeLabel, ...] = ()
    stopped: tuple[str, ...] = ()
    suspects: tuple[SuspectLabel, ...] = ()
    warnings: tuple[str, ...] = ()
    energy_shift: EnergyShift | None = None
    n_test: int = 0
    checks: int = 0
    fires: int = 0
    intended: str = ""
    outlook: dict[str, Outlook] = field(default_factory=dict)
    properties: tuple[Quantity, ...] = ()

    def __post_init__(self) -> None:
        Scales.from_json(self.scales)  # which a damaged file may not hold
        for own in self.properties:
            if own.std is None or not (isfinite(own.value) and isfinite(own.std)):
                raise ValueError(f"{own.name}: holds numbers that it cannot have")

    def warned(self) -> list[str]:
        """``suspects``, the first of ``extreme``, and ``warnings``, in words."""
        extreme = named(self.extreme, "labels with extreme forces")
        return [*map(str, self.suspects), *extreme, *self.warnings]

    def labels_told(self) -> list[str]:
        """What is `warned` of, and ``energy_shift``, in words."""
        shift = [] if self.energy_shift is None else [str(self.energy_shift)]
        return [*self.warned(), *shift]


TIE = 0.1
"""Test errors that are apart by no more than this share are no reason to drop what came since."""


def best_round(reports: Sequence[RoundReport]) -> int | None:
    """The round with the smallest product of the errors of energies and forces on the test set.

    So that a tenth less of one makes up for a tenth more of the other; where there is but one of
    them it decides. None without a test set. Of rounds that are no more than `TIE` above the
    smallest it is the last one, which knows most.
    """
    for names in (("energy_rmse", "forces_rmse"), ("forces_rmse",), ("energy_rmse",)):
        known = {}
        for report in reports:
            errors = [getattr(report, name) for name in names]
            if all(error is not None and isfinite(error) for error in errors):
                known[report.round_number] = prod(errors)
        if known:
            tied = (1 + TIE) * min(known.values())
            return max(number for number, product in known.items() if product <= tied)
    return None


def named(things: Sequence[object], what: str = "walkers") -> list[str]:
    """The first of many in words, and how many more there are."""
    told, more = [str(thing) for thing in things[:MOST_NAMED]], len(things) - MOST_NAMED
    return [*told, f"and {more} more {what}"] if more > 0 else told


@dataclass(frozen=True)
class Ended:
    """The last event. ``awaiting`` is the batch that waits for labels, if any."""

    reason: str
    awaiting: Path | None = None


Event = Progress | RoundReport | Ended
