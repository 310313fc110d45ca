"""Whether deviations are as large as errors, and the scales that make them so.

A linear model of a basis that is too small is more wrong than its posterior says. It orders
structures well, though, and one factor from structures that the fit has not seen brings the
deviations of a property near its errors: z = error / deviation tells by how much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Of the intervals that a scale holds."""
SMALLEST_SHARE = 1e-6
"""Of the largest deviation of a property: rows below it vanish by symmetry and say nothing."""
OUTLIER = 5.0
"""A structure's ratio counts as no more than so many times the median one."""


@dataclass(frozen=True)
class HeldOut:
    """Errors of predictions on structures that a fit has not seen, and their deviations.

    Attributes
    ----------
    errors, deviations
        ``(n,)`` row by row in the units of a property (eV, eV/A, eV): prediction less label, and
        the standard deviation of the model (of forces with `Support.widening`), without scale and
        without the noise of the label.
    structures
        ``(n,)`` to which structure a row belongs.
    added
        ``(n,)`` deviations in the units of errors that no scale multiplies: of what is
        extrapolated (`Uncertainty.extrapolated`). Zeros where it is not given.
    """

    errors: np.ndarray
    deviations: np.ndarray
    structures: np.ndarray
    added: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.added):
            object.__setattr__(self, "added", np.zeros(len(self.errors)))
        columns = (self.deviations, self.structures, self.added)
        if any(len(column) != len(self.errors) for column in columns):
            raise ValueError("errors, deviations, structures and what is added differ in number")

    @classmethod
    def joined(cls, parts: Iterable[HeldOut]) -> HeldOut:
        """Several as one, each of which holds structures of its own."""
        columns: list[tuple[np.ndarray, ...]] = []
        first = 0
        for part in parts:
            columns.append((part.errors, part.deviations, part.structures + first, part.added))
            first += int(part.structures.max(initial=-1)) + 1
        if not columns:
            return cls(np.empty(0), np.empty(0), np.empty(0, int))
        return cls(*map(np.concatenate, zip(*columns, strict=True)))

    def telling(self) -> HeldOut:
        """Without the rows that vanish by symmetry."""
        kept = self.deviations > SMALLEST_SHARE * self.deviations.max(initial=0.0)
        return HeldOut(*(column[kept] for column in vars(self).values()))

    def z(self) -> np.ndarray:
        """Errors over raw deviations of the rows that tell something."""
        kept = self.telling()
        return kept.errors / kept.deviations

    def scaled(self, scale: float) -> HeldOut:
        """With deviations as large as errors: times a scale, and with what is added."""
        whole = np.hypot(scale * self.deviations, self.added)
        return HeldOut(self.errors, whole, self.structures)

    def ratios(self) -> np.ndarray:
        """``(n_structures,)`` root mean square error over that of the deviations, by structure."""
        kept = self.telling()
        _, place = np.unique(kept.structures, return_inverse=True)
        squares = np.bincount(place, kept.errors**2)
        return np.asarray(np.sqrt(squares / np.bincount(place, kept.deviations**2)))


@dataclass(frozen=True)
class Scale:
    """By what raw deviations of a property are multiplied to be as large as errors.

    Attributes
    ----------
    value
        Root mean square over structures of error over deviation, not less than one: what is left
        out of a small set of near copies is predicted too well.
    error
        Standard error of ``value``; infinite for one structure.
    n_structures
        Behind it.
    quantiles
        Of \\|z\\| at `LEVELS`: an interval of that level is as wide to both sides, in raw
        deviations. Split-conformal ones, with the correction for a finite number; those of
        Student's t for fewer than 19 rows, the largest of which is exceeded too often.
    """

    value: float = 1.0
    error: float = math.inf
    n_structures: int = 0
    quantiles: tuple[float, ...] = (0.6745, 0.9945, 1.6449, 1.96)

    @classmethod
    def of(cls, held_out: HeldOut) -> Scale:
        """From predictions that were compared with labels; a plain one where these say nothing."""
        ratios, z = held_out.ratios(), np.abs(held_out.z())
        if not len(ratios):
            return cls()
        squares = np.minimum(ratios, OUTLIER * np.median(ratios)) ** 2
        rms = math.sqrt(squares.mean())
        spread = math.inf
        if len(ratios) > 1 and rms > 0:
            spread = float(np.std(squares, ddof=1)) / (2 * rms * math.sqrt(len(ratios)))
        return cls(max(1.0, rms), spread, len(ratios), _quantiles(z))

    def half_width(self, level: float) -> float:
        """Of a central interval, in raw deviations.

        Raises
        ------
        ValueError
            For a level that is none of `LEVELS`.
        """
        try:
            return self.quantiles[LEVELS.index(level)]
        except ValueError:
            raise ValueError(f"level {level}: known ones are {LEVELS}") from None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Scale:
        """What `to_json` gave.

        Raises
        ------
        ValueError
            For values that no scale can have.
        """
        try:
            error, quantiles = raw["error"], tuple(map(float, raw["quantiles"]))
            scale = cls(
                float(raw["value"]),
                math.inf if error is None else float(error),
                int(raw["n_structures"]),
                quantiles,
            )
        except (KeyError, TypeError, OverflowError) as wrong:
            raise ValueError(f"a scale lacks what it needs ({wrong!r})") from wrong
        numbers = [scale.value, *quantiles]
        if not np.isfinite(numbers).all() or min(numbers) < 0 or len(quantiles) != len(LEVELS):
            raise ValueError("a scale holds numbers that it cannot have")
        return scale

    def to_json(self) -> dict[str, Any]:
        """For a file; JSON knows no infinity."""
        error = self.error if math.isfinite(self.error) else None
        return {**vars(self), "error": error, "quantiles": list(self.quantiles)}


def _quantiles(z: np.ndarray) -> tuple[float, ...]:
    """Of `Scale.quantiles`, from the absolute values of n rows.

    An interval as wide as the largest of them holds the next one with probability n / (n + 1), and
    no rank says more. For normal z of unknown size, t = z / rms has n degrees of freedom.
    """
    n = len(z)
    if n / (n + 1) < LEVELS[-1]:
        from scipy.special import stdtrit  # status and report need no scipy

        rms = math.sqrt(np.mean(z**2))
        return tuple(float(rms * stdtrit(n, (1 + level) / 2)) for level in LEVELS)
    places = [min(math.ceil(level * (n + 1)) / n, 1.0) for level in LEVELS]
    return tuple(map(float, np.quantile(z, places, method="inverted_cdf")))


@dataclass(frozen=True)
class Scales:
    """One `Scale` for each property; plain ones where nothing is known.

    Attributes
    ----------
    energy, forces, virial
        For use of the model in general.
    campaign_forces
        By what triggers, the screening of labels and error bars of phonons multiply force
        deviations, where a network is the potential: they are without `Support.widening`. None for
        ``forces``.
    """

    energy: Scale = Scale()
    forces: Scale = Scale()
    virial: Scale = Scale()
    campaign_forces: Scale | None = None

    @classmethod
    def of(cls, held_out: Mapping[str, HeldOut]) -> Scales:
        """By property."""
        return cls(**{prop: Scale.of(rows) for prop, rows in held_out.items()})

    @property
    def in_campaign(self) -> Scales:
        """For force deviations that are not widened (`campaign_forces`)."""
        return replace(self, forces=self.campaign_forces or self.forces, campaign_forces=None)

    def of_network(self, own: Scales) -> Scales:
        """These, of a linear mean, beside the ``own`` ones of a network that predicts in its place.

        The larger of energies and virials, and of forces in a campaign; its own of forces else.
        """
        energy, forces, virial = (
            max(ours, theirs, key=lambda scale: scale.value)
            for ours, theirs in (
                (self.energy, own.energy),
                (self.forces, own.forces),
                (self.virial, own.virial),
            )
        )
        return Scales(energy, own.forces, virial, forces)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Scales:
        """What `to_json` gave; ValueError as of `Scale.from_json`, also for other properties."""
        if unknown := sorted(raw.keys() - vars(cls()).keys()):
            raise ValueError(f"there are no scales of {', '.join(unknown)}")
        return cls(**{prop: Scale.from_json(scale) for prop, scale in raw.items()})

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return {name: scale.to_json() for name, scale in vars(self).items() if scale is not None}
