"""Whether new labels can be right: each beside what the model before its refit expected.

Picks of biased MD lie where the model errs, so the size of an error says nothing. What tells a
wrong label is where the error lies (`surrogate.expectation`): in directions in which the model is
certain, or in the energy once the label's own forces are known. The sizes found are compared with
those of the other labels of the batch, since a fit that is too certain of itself is so for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import betainc

from ..io.words import rounded
from ..structures.labels import FitTargets
from ..surrogate.design import Noise
from ..surrogate.energy_weights import force_growth
from ..surrogate.expectation import Expectation
from ..surrogate.scales import Scales
from .causes import ENERGY_OFF, likely_cause, per_element

FORCES = 4.0
TIMES = {"virial": 8.0, "energy": 8.0}
"""So many times as large as usual may the surprise of a right label be."""
USUAL = {"forces": 0.7, "virial": 0.7, "energy": 0.3}
"""A change explains a wrong label if no more than this share of the limits remains."""
ONE_FORCE = 8.0
"""So many times that of all forces may be the surprise of one component."""
ONE = "one force"
"""Name of its size."""
MOST_KNOWN, BEYOND_KNOWN = 0.98, 3.0
"""A right label surprises up to so many times as this quantile of the training structures."""
WORTH = 1.3
"""Forces that surprise less than so many times the usual are not asked for a factor."""
HARMLESS_EV = 0.005
"""Energies off by less, eV per atom, are left to the fit."""
ALONE = 30.0
"""So many times the scale of the last fit, whatever the rest of the batch."""
ENERGY_OVER_FORCES = 3.0
"""Usual surprises of energies count as no more than so many times those of forces."""
FACTORS = (0.6, 1.6)
"""Between these lies the best factor of right forces; beyond, it is a wrong unit or sign ..."""
NEARER = 0.7
"""... where forces times this factor surprise less than this share of them, and of no forces ..."""
BY_CHANCE = 0.01
"""... and are less probably as near to any forces: a small molecule has few directions."""
RIGID = 6
"""Components of forces that a molecule's shifts and turns leave without news."""
VANISHING = 2.5
"""So many times as large as usual may the surprise of forces be that are all zero."""
FEW = 5.0
"""Limits are wider by this share over the square of the number of labels behind what is usual."""
THROUGH_ALL = 0.003
"""eV/A. A fit with less noise of forces goes through all of its labels, as of one small molecule,
and where they end it foretells no errors. Then a label is suspicious only if it is ..."""
LEAST_NOISE = Noise(energy=0.003, forces=0.03, virial=0.01)
"""... with this noise too."""
PEERS = 5
"""With fewer labels in a batch, the latest of earlier rounds are asked too."""

Sizes = Mapping[str, float]
"""Of surprises, by property."""


@dataclass(frozen=True)
class Verdict:
    """What screening found of a label.

    Attributes
    ----------
    sizes
        Of its surprise, by property.
    found
        What does not fit, in words; empty where nothing is wrong.
    cause
        What it probably is, in words; empty where nothing is wrong.
    """

    sizes: Sizes
    found: str = ""
    cause: str = ""

    @property
    def suspicious(self) -> bool:
        """Whether the label is set aside."""
        return bool(self.found)


@dataclass(frozen=True)
class NewLabel:
    """A label and what was expected of it.

    Attributes
    ----------
    labels
        The label.
    expected
        Of the properties that it holds.
    composition
        Number of atoms by element.
    volume
        A^3; zero without three periodic directions.
    """

    labels: FitTargets
    expected: Expectation
    composition: Mapping[str, int]
    volume: float


@dataclass(frozen=True)
class Levels:
    """Usual sizes of surprises, from which follow the largest that right labels have.

    Attributes
    ----------
    usual
        Medians of a batch, by property.
    scales
        Of the fit that foretold it.
    max_force
        eV/A: beyond it the model is not expected to follow (`force_growth`); None for no limit.
    leeway
        By which the limits are wider where few labels tell what is usual.
    known
        Sizes that training structures reach which the others foretell; also of `ONE`.
    """

    usual: Sizes
    scales: Scales
    max_force: float | None = None
    leeway: float = 1.0
    known: Sizes = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        batch: Sequence[NewLabel],
        earlier: Sequence[Sizes],
        scales: Scales,
        max_force: float | None,
        training: Sequence[Sizes],
    ) -> Levels:
        """Of a batch.

        Parameters
        ----------
        batch, earlier, scales, max_force, training
            As of `screened`.
        """
        few = min(max(0, PEERS - len(batch)), len(earlier))
        peers = [new.expected.surprise(new.labels).sizes for new in batch]
        peers += earlier[len(earlier) - few :]
        names = {prop for sizes in peers for prop in sizes}
        usual = {p: float(np.median([s[p] for s in peers if p in s])) for p in names}
        reached = {
            prop: float(np.quantile([s[prop] for s in training], MOST_KNOWN, method="lower"))
            for prop in (set.intersection(*map(set, training)) if training else ())
        }
        return cls(usual, scales, max_force, 1.0 + FEW / len(peers) ** 2, reached)

    def limit(self, prop: str, sizes: Sizes) -> float:
        """The largest surprise of a property, with those of the others as they are."""
        known = BEYOND_KNOWN * self.known.get(prop, 0.0)
        if prop == ONE:
            return max(known, self.limit("forces", sizes) * ONE_FORCE / FORCES)
        usual, scale = self.usual[prop], float(getattr(self.scales, prop).value)
        if prop == "forces":
            return max(known, min(self.leeway * FORCES * max(usual, 1.0), ALONE * scale))
        own = sizes.get("forces", 0.0)  # where the forces surprise, so may the rest
        if prop == "energy" and "forces" in self.usual:
            usual = min(usual, ENERGY_OVER_FORCES * self.usual["forces"])
        most = self.leeway * TIMES[prop] * max(usual, own, 1.0)
        return max(known, min(most, ALONE * max(scale, own)))

    def misfit(
        self, expected: Expectation, labels: FitTargets, prop: str, share: float = 1.0
    ) -> str:
        """What is wrong with a property of a label, in words; empty where it may be right.

        Parameters
        ----------
        expected, labels
            Of one structure.
        prop
            The property.
        share
            Of the limits that is allowed.
        """
        surprise = expected.surprise(labels)
        sizes, n_atoms = surprise.sizes, expected.n_atoms
        if prop == "energy" and abs(surprise.energy_eV) <= HARMLESS_EV * n_atoms:
            return ""
        share *= force_growth(labels.forces, self.max_force)
        limit = share * self.limit(prop, sizes)
        if sizes[prop] > limit:
            return f"{prop} surprise by {_beside(sizes[prop], limit)}"
        if prop != "forces" or labels.forces is None or sizes[prop] <= 1.0:
            return ""
        worst = expected.worst_force(labels)
        if worst > (limit := share * self.limit(ONE, sizes)):
            return f"a force component surprises by {_beside(worst, limit)}"
        if sizes[prop] < WORTH * self.usual[prop]:
            return ""
        if not labels.forces.any():
            vanish = sizes[prop] > VANISHING * max(self.usual[prop], 1.0)
            return "forces vanish, against all that is known" if vanish else ""
        factor = expected.best_factor(labels)
        if FACTORS[0] <= factor <= FACTORS[1]:
            return ""
        scaled, none = (
            expected.surprise(replace(labels, forces=f * labels.forces)).sizes[prop]
            for f in (factor, 0.0)
        )
        if factor == 0.0 or scaled > NEARER * min(sizes[prop], none):
            return ""
        if _by_chance(scaled / none, len(expected.predicted[prop]) - RIGID) > BY_CHANCE:
            return ""
        return f"forces are as expected but for a factor of about {rounded(1 / factor, 3)}"


def _beside(size: float, limit: float) -> str:
    return f"{rounded(size, 3)}, at most {rounded(limit, 3)} is expected"


def screened(
    batch: Sequence[NewLabel],
    scales: Scales,
    earlier: Sequence[Sizes] = (),
    max_force: float | None = None,
    training: Sequence[Sizes] = (),
) -> list[Verdict]:
    """Find the labels of a batch that can hardly be right.

    Parameters
    ----------
    batch
        The new labels.
    scales
        Of the fit that foretold them.
    earlier
        Sizes of labels of earlier rounds that were not suspicious, the latest last.
    max_force
        That of `Levels`.
    training
        Sizes of structures of the fit as the others foretell them.
    """
    levels = Levels.of(batch, earlier, scales, max_force, training)
    verdicts = [_verdict(new, levels) for new in batch]
    alone = [k for k, verdict in enumerate(verdicts) if verdict.cause.startswith(ENERGY_OFF)]
    errors = [batch[k].expected.surprise(batch[k].labels).energy_eV for k in alone]
    shifts = per_element(errors, [batch[k].composition for k in alone]) if alone else None
    if shifts is None:
        return verdicts
    told = ", ".join(f"{symbol} {shift:+.3g}" for symbol, shift in shifts.items())
    cause = f"a constant per element ({told} eV): other reference energies (E0) or functional"
    return [replace(v, cause=cause) if k in alone else v for k, v in enumerate(verdicts)]


def _by_chance(distance: float, dimensions: int) -> float:
    """How probably a random direction comes as near to another, with the best length.

    The square of the cosine of the angle between them, one less ``distance`` squared, has a beta
    distribution.
    """
    if dimensions < 2:
        return 1.0
    return float(betainc((dimensions - 1) / 2, 0.5, min(distance, 1.0) ** 2))


def _verdict(new: NewLabel, levels: Levels) -> Verdict:
    doubted = new.expected
    if doubted.units.get("forces", math.inf) < THROUGH_ALL:
        doubted = doubted.with_noise(LEAST_NOISE)
    found = [
        told
        for prop in new.expected.predicted
        if (told := levels.misfit(new.expected, new.labels, prop))
        and levels.misfit(doubted, new.labels, prop)
    ]
    sizes = new.expected.surprise(new.labels).sizes
    if not found:
        return Verdict(sizes)
    cause = likely_cause(
        new.labels,
        new.expected,
        new.volume,
        lambda labels, prop: not levels.misfit(new.expected, labels, prop),
        lambda labels, prop: not levels.misfit(new.expected, labels, prop, USUAL[prop]),
    )
    return Verdict(sizes, "; ".join(found), cause)
