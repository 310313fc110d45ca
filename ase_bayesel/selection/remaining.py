"""What is left of a pool's predicted errors after so many picks, and whether these are enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..errors import BayeselError
from ..surrogate.steps import OnProgress
from ..surrogate.surrogate import Surrogate

MOST = 1000
"""So many structures of a pool are looked at, evenly spread."""
POINTS = 60
"""After so many numbers of picks at most, and after the `ROUND` ones."""
ROUND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
FEWEST = 4
"""Less structures or picks tell nothing of how errors go on."""
SMALL_GAIN = 0.01
"""Picks are enough once each further one lowers the mean error by less than this share of it."""


@dataclass(frozen=True)
class Left:
    """Mean predicted error of the energy per atom over a pool, against the number of picks.

    Attributes
    ----------
    counts
        ``(k,)`` numbers of picks, from 0.
    errors
        ``(k,)`` eV/atom: scaled deviations in the mean over the structures that were looked at.
    relative_error
        Standard error of the scale over the scale, common to all ``errors``; infinite where
        nothing is known of it.
    floor
        eV/atom: what would be left with the energies of all of these structures as well.
    n_looked_at
        How many they are.
    most
        ``(k,)`` eV/atom, not below ``errors``: as much higher as such forecasts were too low within
        the core (`HalvesTest`); None where nothing is known of it.
    """

    counts: np.ndarray
    errors: np.ndarray
    relative_error: float
    floor: float
    n_looked_at: int
    most: np.ndarray | None = None

    def shares(self) -> np.ndarray:
        """``(k,)`` of the fall from no pick to ``floor``, what so many picks reach."""
        return (self.errors[0] - self.errors) / max(self.errors[0] - self.floor, 1e-300)

    def gains(self) -> np.ndarray:
        """``(k - 1,)`` share of the error by which each pick lowers it, from count to count."""
        left = np.maximum(self.errors, 1e-300)
        return 1.0 - (left[1:] / left[:-1]) ** (1.0 / np.diff(self.counts))

    def enough(self) -> int | None:
        """From how many picks on each further one gains less than `SMALL_GAIN`; None for none."""
        small = self.gains() < SMALL_GAIN
        n_last = len(small) if small.all() else int(np.argmin(small[::-1]))
        return int(self.counts[len(small) - n_last]) if n_last else None

    def extrapolated(self) -> int | None:
        """How many would be enough if errors went on to fall as a power of the number of picks.

        The power is that from half of the picks to all; rounded to one digit. None for less than
        `FEWEST` picks, or where they are enough already.
        """
        n = int(self.counts[-1])
        if n < FEWEST or self.enough() is not None:
            return None
        half, last = (np.interp(k, self.counts, np.log(self.errors + 1e-300)) for k in (n / 2, n))
        number = (half - last) / math.log(2.0) / SMALL_GAIN
        return int(float(f"{number:.1g}")) if number > n else None


@dataclass(frozen=True)
class HalvesTest:
    """How much too low forecasts were within a core: from its halves for the whole.

    What picks leave is foretold with the noise, prior and scale that the core tells of. A fit of
    few labels knows little of these, and the fit that knows the picks too finds others. Each half
    of the core foretells what is left once the other half is labelled, and the fit of the whole
    tells what that has come to.

    Attributes
    ----------
    factor
        The smaller ratio of the two, at least 1.
    n_core
        Structures of the core.
    """

    factor: float
    n_core: int

    def most(self, errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """``errors (k,)`` after ``counts (k,)`` picks, too low by the factor once the number of
        labels has doubled, by its square once more, but not above that before the first pick."""
        doublings = np.log2(1.0 + counts / self.n_core)
        return np.minimum(errors * self.factor**doublings, errors[0])


def halves_test(
    fit: Callable[[Sequence[Atoms]], Surrogate],
    whole: Surrogate,
    core: Sequence[Atoms],
    rows: np.ndarray,
    n_atoms: np.ndarray,
) -> HalvesTest | None:
    """Try forecasts within a core.

    Parameters
    ----------
    fit
        Gives the surrogate of some structures, with its scales.
    whole
        That of the core.
    core
        Its structures; less than `FEWEST` are too few.
    rows, n_atoms
        As of `error_floor`.

    Returns
    -------
    None where a half is too small to be fitted.
    """
    if len(core) < FEWEST:
        return None
    means = rows / n_atoms[:, None]
    came_to, ratios = _mean_error(whole, whole.posterior.variance(means)), []
    for half, other in ((core[::2], core[1::2]), (core[1::2], core[::2])):
        try:
            known = fit(half).condition(other)
        except BayeselError:
            return None
        ratios.append(came_to / _mean_error(known, known.posterior.variance(means)))
    return HalvesTest(max(1.0, min(ratios)), len(core))


def looked_at(n_pool: int) -> np.ndarray:
    """Indices of `MOST` structures of a pool, evenly spread, or of all."""
    return np.unique(np.linspace(0, n_pool - 1, min(n_pool, MOST)).round().astype(int))


def error_floor(
    surrogate: Surrogate, picks: Sequence[Atoms], rows: np.ndarray, n_atoms: np.ndarray
) -> float:
    """Mean predicted error with the labels of the picks and the energies of all structures.

    Parameters
    ----------
    surrogate
        Before the first pick.
    picks
        Of all methods that are compared.
    rows
        ``(m, D)`` feature rows of the structures that are looked at, sums over atoms.
    n_atoms
        ``(m,)``.

    Returns
    -------
    eV/atom.
    """
    noise = np.array([surrogate.noise.std("energy", n) for n in n_atoms.tolist()])
    known = surrogate.condition(picks).posterior.condition(rows / noise[:, None])
    return _mean_error(surrogate, known.variance(rows / n_atoms[:, None]))


def error_left(
    surrogate: Surrogate,
    picks: Sequence[Atoms],
    rows: np.ndarray,
    n_atoms: np.ndarray,
    floor: float,
    on_progress: OnProgress | None = None,
    tested: HalvesTest | None = None,
) -> Left:
    """What is left after 0 to n picks, each with all that its label holds.

    What rests on environments that the fit does not know (`Support`) is not counted.

    Parameters
    ----------
    surrogate
        Before the first pick, with its scales.
    picks
        In their order.
    rows, n_atoms
        As of `error_floor`.
    floor
        Of it, eV/atom.
    on_progress
        Called with (picks taken up, picks in all).
    tested
        How such forecasts have done within the core.
    """
    n = len(picks)
    spread = np.linspace(0, n, min(n, POINTS) + 1).round().astype(int)
    counts = np.union1d(spread, [k for k in ROUND if k <= n])
    means = rows / n_atoms[:, None]
    errors = []
    for before, count in zip([0, *counts[:-1]], counts, strict=True):
        if count > before:
            surrogate = surrogate.condition(picks[before:count])
        errors.append(_mean_error(surrogate, surrogate.posterior.variance(means)))
        if on_progress is not None:
            on_progress(int(count), n)
    scale = surrogate.scales.energy
    relative = scale.error / scale.value if scale.n_structures > 1 else math.inf
    most = None if tested is None else tested.most(np.array(errors), counts)
    return Left(counts, np.array(errors), relative, floor, len(rows), most)


def _mean_error(surrogate: Surrogate, variances: np.ndarray) -> float:
    return float(surrogate.scales.energy.value * np.sqrt(variances).mean())
