"""Whether uncertainties are as large as errors, and what it means for the advice, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from ...campaign.history import History
from ...campaign.stopping import leading
from ...dynamics.triggers import (
    AllOf,
    AnyOf,
    EnergyTrigger,
    ForceTrigger,
    RelativeForceTrigger,
    Trigger,
)
from ...io.words import counted
from ...surrogate.scales import HeldOut
from ...validation.reliability import reliability

FACTOR = 1.5
"""Uncertainties within this factor of the errors, either way, are as large as these."""
CHANCE = 0.025, 0.975
"""Quantiles between which a ratio may be 1."""
LARGER = "errors are larger than the uncertainties say; do not rely on the error bars"
SMALLER = "errors are smaller than the uncertainties say; error bars are cautious"
AS_LARGE = "uncertainties are as large as errors"


@dataclass(frozen=True)
class Ratio:
    """Errors of picks over their calibrated deviations.

    Attributes
    ----------
    prop
        The property.
    z
        Root mean square.
    n_picks
        Behind it.
    """

    prop: str
    z: float
    n_picks: int

    @property
    def chance(self) -> tuple[float, float]:
        """What so few picks show by chance where uncertainties are as large as errors.

        The squares of n independent ratios have a mean within the quantiles of chi squared over n.
        The numbers of one pick are not independent, so that n is the number of picks.
        """
        low, high = np.sqrt(2.0 / self.n_picks * gammaincinv(self.n_picks / 2.0, CHANCE))
        return float(low), float(high)

    @property
    def right(self) -> tuple[float, float]:
        """Between which it counts as right: within `FACTOR`, or within `chance`."""
        low, high = self.chance
        return min(1 / FACTOR, low), max(FACTOR, high)

    @property
    def few(self) -> bool:
        """Whether chance and not `FACTOR` sets a limit."""
        return self.right != (1 / FACTOR, FACTOR)

    @property
    def told(self) -> str:
        """What it says."""
        low, high = self.right
        if self.z > high:
            return LARGER
        if self.z < low:
            return SMALLER
        tell = counted(self.n_picks, "pick tells", "picks tell")
        return f"{AS_LARGE}, as far as {tell}" if self.few else AS_LARGE


def ratios(foretold: Mapping[str, HeldOut]) -> list[Ratio]:
    """Of each property that tells something, from errors of picks and calibrated deviations."""
    found = []
    for prop, rows in foretold.items():
        compared = reliability(rows)
        if compared is not None:
            n_picks = len(np.unique(rows.telling().structures))
            found.append(Ratio(prop, compared.z, n_picks))
    return found


def trust_in_words(found: Sequence[Ratio]) -> str:
    """Ratios, between which limits they are right, and what each property's says."""
    if not found:
        return "No pick was compared with its label, so uncertainties are untried."
    sizes = ", ".join(f"{ratio.z:.2f} ({ratio.prop})" for ratio in found)
    said: dict[str, list[str]] = {}
    for ratio in found:
        said.setdefault(ratio.told, []).append(ratio.prop)
    parts = [f"{_listed(props).capitalize()}: {told}." for told, props in said.items()]
    head = f"Errors of the last picks over their calibrated deviations: {sizes}."
    return " ".join([head, *_limits(found), *parts])


def _limits(found: Sequence[Ratio]) -> Iterator[str]:
    """A sentence on the limits for each number of picks, which properties may differ in."""
    by_number: dict[int, list[Ratio]] = {}
    for ratio in found:
        by_number.setdefault(ratio.n_picks, []).append(ratio)
    for own in by_number.values():
        low, high = own[0].right
        props = "" if len(by_number) == 1 else f" for {_listed([r.prop for r in own])}"
        shows = counted(own[0].n_picks, "pick shows", "picks show")
        few = f", or what {shows} by chance" if own[0].few else ""
        yield f"Right is {low:.2f} to {high:.2f}{props}: within a factor of {FACTOR}{few}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


def caution(history: History, found: Sequence[Ratio]) -> str:
    """What speaks against an advice to stop, where it rests on uncertainties that are too small.

    Empty where nothing does: errors are no larger than uncertainties say, or test errors decide.
    """
    if not history.advice.what.startswith(("stop", "enlarge")):
        return ""
    too_large = {ratio.prop: ratio for ratio in found if ratio.told == LARGER}
    if history.reports[-1].picks:
        prospect = leading(history.reports[-1]) if history.linear else None
        ratio = None if prospect is None else too_large.get(prospect.prop)
        return "" if ratio is None else f"this rests on error bars, and {_off(ratio)}"
    ratio = next((own for p in _rests_on(history.trigger) if (own := too_large.get(p))), None)
    if ratio is None:
        return ""
    lower = "a lower threshold"
    if not isinstance(history.trigger, AnyOf | AllOf):
        threshold = history.trigger.threshold
        lower += f" ({threshold / ratio.z:.2g} in place of {threshold:g}, say)"
    return f"the trigger rests on error bars, and {_off(ratio)}: {lower} is worth a round"


def _off(ratio: Ratio) -> str:
    name = "force" if ratio.prop == "forces" else "energy"
    return f"{name} errors of the last picks were {ratio.z:.2g} times what these said"


def _rests_on(trigger: Trigger) -> Iterator[str]:
    """The properties whose calibrated deviations a trigger compares with its threshold."""
    if isinstance(trigger, AnyOf | AllOf):
        for member in trigger.members:
            yield from _rests_on(member)
    forces = isinstance(trigger, RelativeForceTrigger | ForceTrigger)
    if (forces or isinstance(trigger, EnergyTrigger)) and getattr(trigger, "calibrated", False):
        yield "forces" if forces else "energy"
