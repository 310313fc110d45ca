"""Whether uncertainties are as large as errors: z, coverage and proper scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from ..surrogate.scales import LEVELS, HeldOut, Scale


@dataclass(frozen=True)
class Reliability:
    """How deviations times their scale compare with errors, over the rows of a property.

    Attributes
    ----------
    n
        Rows that tell something.
    rmse
        Root mean square error, in the unit of the property.
    raw_z, z
        Root mean square of error over deviation, without and with the scale.
    coverage
        Share of errors within the intervals of `LEVELS`.
    nll, crps
        Mean negative log likelihood, and mean continuous ranked probability score (unit of the
        property), of Gaussians with the scaled deviations: Gneiting and Raftery, J. Am. Stat.
        Assoc. 102, 359 (2007), equation 21. Smaller is better.
    """

    n: int
    rmse: float
    raw_z: float
    z: float
    coverage: tuple[float, ...]
    nll: float
    crps: float


def reliability(held_out: HeldOut, scale: Scale = Scale()) -> Reliability | None:
    """Compare; None where no row tells anything.

    Parameters
    ----------
    held_out
        Of one property.
    scale
        Found without these rows.
    """
    rows = held_out.telling()
    if not len(rows.errors):
        return None
    raw, std = np.abs(rows.errors) / rows.deviations, rows.scaled(scale.value).deviations
    z = rows.errors / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    crps = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return Reliability(
        len(z),
        _rms(rows.errors),
        _rms(raw),
        _rms(z),
        tuple(float(np.mean(np.abs(rows.errors) <= _half_width(rows, scale, q))) for q in LEVELS),
        float(np.mean(0.5 * np.log(2 * math.pi * std**2) + 0.5 * z**2)),
        float(np.mean(crps)),
    )


def _half_width(rows: HeldOut, scale: Scale, level: float) -> np.ndarray:
    """Of intervals: conformal, and wider by the normal quantile of what is added."""
    return np.hypot(scale.half_width(level) * rows.deviations, ndtri((1 + level) / 2) * rows.added)


def binned(held_out: HeldOut, n_bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square deviation and error of bins of equal number, by rising deviation."""
    rows = held_out.telling()
    order = np.argsort(rows.deviations, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    deviations = np.array([_rms(rows.deviations[part]) for part in parts])
    return deviations, np.array([_rms(rows.errors[part]) for part in parts])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
