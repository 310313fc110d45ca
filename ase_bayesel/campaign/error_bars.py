"""How the error bars of properties have gone from round to round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..io.words import rounded
from ..validation.quantity import Quantity
from .events import RoundReport

FLAT = 0.1
"""Errors and error bars that have changed by less than this share no longer fall."""
OVER = 2
"""Over so many rounds."""


@dataclass(frozen=True)
class ErrorBar:
    """A property after the last round.

    Attributes
    ----------
    now
        With its error bar.
    before
        The error bar of `OVER` rounds ago, those without it not counted; None for fewer.
    wanted
        The error bar that suffices; None where nothing is said of it.
    """

    now: Quantity
    before: float | None
    wanted: float | None

    @property
    def std(self) -> float:
        """The error bar."""
        return self.now.std or 0.0

    @property
    def short(self) -> bool:
        """Whether it is larger than wanted."""
        return self.wanted is not None and self.std > self.wanted

    @property
    def falls(self) -> bool | None:
        """Whether it has fallen by more than `FLAT`; None where that is not known yet."""
        return None if self.before is None else self.std < (1.0 - FLAT) * self.before

    def __str__(self) -> str:
        told = f"{self.now.name} {self.now.value:.5g} ± {rounded(self.std)} {self.now.unit}"
        if self.wanted is not None:
            told += f", wanted {rounded(self.wanted)}"
        if self.before is not None:
            told += f", {rounded(self.before)} {OVER} rounds ago"
        return told


def error_bars(reports: Sequence[RoundReport], wanted: Mapping[str, float]) -> list[ErrorBar]:
    """Of the properties that the last round has.

    Parameters
    ----------
    reports
        Of the finished rounds, in order.
    wanted
        Error bars that suffice, by property.
    """
    found = []
    for own in reports[-1].properties if reports else ():
        earlier = [q.std for report in reports for q in report.properties if q.name == own.name]
        before = earlier[-1 - OVER] if len(earlier) > OVER else None
        found.append(ErrorBar(own, before, wanted.get(own.name)))
    return found
