"""What a trigger is, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ase import Atoms

from ...bias.prediction import Prediction


@dataclass(frozen=True)
class TriggerReport:
    """What a trigger saw: its criterion's ``value`` against the ``threshold``.

    ``atom_index`` is the atom that gave the value, None for a global criterion. A force
    criterion that came from a `ForceSearch` is exact for this atom; another may be larger.
    A value that is NaN counts as fired, and ends a walker (see `run_walker`). ``members``
    are the reports behind that of `AnyOf` or `AllOf`.
    """

    name: str
    value: float
    threshold: float
    fired: bool
    atom_index: int | None = None
    members: tuple[TriggerReport, ...] = ()

    @property
    def ratio(self) -> float:
        """Value over threshold; the value itself where the threshold is not positive."""
        return self.value / self.threshold if self.threshold > 0 else self.value

    def __str__(self) -> str:
        """The reason in words, as ``relative_force 0.31 > 0.2 (atom 7)``."""
        if self.members:
            return f"{self.name} of ({'; '.join(map(str, self.members))})"
        sign = ">" if self.fired else "<="
        atom = "" if self.atom_index is None else f" (atom {self.atom_index})"
        return f"{self.name} {self.value:.6g} {sign} {self.threshold:.6g}{atom}"


class Reported:
    """What holds the ``reports`` of triggers: a walker's step, a candidate."""

    reports: tuple[TriggerReport, ...]

    @property
    def fired(self) -> TriggerReport | None:
        """The first trigger that fired, if any."""
        return next((report for report in self.reports if report.fired), None)

    @property
    def leading(self) -> TriggerReport | None:
        """`fired`, else the first report, if any."""
        return self.fired or next(iter(self.reports), None)


class Trigger(Protocol):
    """A criterion on one evaluation."""

    @property
    def threshold(self) -> float:
        """The largest value at which it does not fire."""
        ...

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        """What it sees at an evaluation of ``atoms``."""
        ...


def compared(name: str, value: float, threshold: float, atom: int | None = None) -> TriggerReport:
    """The report of one criterion; NaN fires.

    Parameters
    ----------
    name
        Of the criterion.
    value, threshold
        In the criterion's unit.
    atom
        Index of the atom that gave the value, None for a global criterion.
    """
    return TriggerReport(name, value, threshold, not value <= threshold, atom)
