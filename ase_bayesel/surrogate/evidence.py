"""Hyperparameters of Bayesian linear regression by evidence maximisation.

The model is y_p = A_p theta + noise_p for each property p, theta ~ N(0, s^2 I)
in whitened coordinates. s and one noise per property maximise the marginal
likelihood (MacKay 1992). numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular, svd
from scipy.optimize import minimize

from .triangular import merge

AT_BOUND = 1e-6
"""Logarithms nearer to that of a bound are at it."""


@dataclass(frozen=True)
class Evidence:
    """Optimum of the marginal likelihood.

    ``prior_std`` is s, ``noise`` maps each property to its standard deviation,
    and ``log_evidence`` is the logarithm of the marginal likelihood. ``at_bounds`` says what lies
    at an end of its range.
    """

    prior_std: float
    noise: dict[str, float]
    log_evidence: float
    at_bounds: tuple[str, ...] = ()


def stacked_triangle(
    triangles: Mapping[str, np.ndarray], noise: Mapping[str, float], prior_std: float
) -> np.ndarray:
    """QR factor ``(D+1, D+1)`` of the prior and of all rows divided by their noise."""
    width = len(next(iter(triangles.values())))
    stacked = np.zeros((width, width))
    np.fill_diagonal(stacked[:-1, :-1], 1.0 / prior_std)
    for prop, triangle in triangles.items():
        stacked = merge(stacked, triangle / noise[prop])
    return stacked


def maximise_evidence(
    triangles: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    start: Mapping[str, float],
    noise_bounds: Mapping[str, tuple[float, float]],
    prior_bounds: tuple[float, float] = (1e-4, 1e8),
) -> Evidence:
    """Maximise the log evidence over log s and the logs of the noises with L-BFGS.

    Parameters
    ----------
    triangles
        Property to the ``(D+1, D+1)`` QR factor of its [rows, targets].
    counts
        Property to its number of rows.
    start, noise_bounds
        First guess and allowed range of each noise, in the property's unit. The
        lower bound keeps a handful of structures from claiming perfect data.
    prior_bounds
        Allowed range of s, in the unit of the whitened coefficients.
    """
    names = list(triangles)
    spread = _Spread.of(*triangles.values()) if len(names) == 1 else None

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        prior_std = float(np.exp(parameters[0]))
        noise = {name: float(np.exp(p)) for name, p in zip(names, parameters[1:], strict=True)}
        if spread is None:
            parts = _parts(triangles, noise, prior_std)
        else:
            parts = spread.parts(noise[names[0]], prior_std)
        n_coefficients = parts.n_coefficients
        value = parts.logdet + (2.0 * n_coefficients * parameters[0] + parts.penalty)
        gradient = [2.0 * parts.determined - 2.0 * parts.penalty]
        for k, name in enumerate(names):
            fitted, misfit = parts.fitted[k], parts.misfits[k]
            value += 2.0 * counts[name] * parameters[1 + k] + misfit
            gradient.append(2.0 * (counts[name] - fitted - misfit))
        value += sum(counts.values()) * np.log(2 * np.pi)
        return 0.5 * value, 0.5 * np.array(gradient)

    first = np.log([1.0, *(start[name] for name in names)])
    bounds = [tuple(np.log(b)) for b in (prior_bounds, *(noise_bounds[name] for name in names))]
    first = np.clip(first, [b[0] for b in bounds], [b[1] for b in bounds])
    result = minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-8}
    )
    told = ["the prior", *("the noise" if n == "all" else f"the noise of {n}" for n in names)]
    at_bounds = tuple(
        f"{what} is at the {end} end of its range"
        for what, value, ends in zip(told, result.x, bounds, strict=True)
        for end, bound in zip(("lower", "upper"), ends, strict=True)
        if abs(value - bound) < AT_BOUND
    )
    prior_std, *noises = np.exp(result.x)
    return Evidence(
        float(prior_std),
        dict(zip(names, map(float, noises), strict=True)),
        -float(result.fun),
        at_bounds,
    )


class _Parts(NamedTuple):
    """What the evidence and its gradient are made of, at some prior and noise.

    ``logdet`` is that of the precision and ``penalty`` |mean|^2 / s^2. Of each property,
    ``misfits`` is |A mean - y|^2 and ``fitted`` tr(A Sigma A^T), both in units of the noise.
    ``determined`` of the coefficients are so by the rows, the rest by the prior.
    """

    n_coefficients: int
    determined: float
    logdet: float
    penalty: float
    misfits: list[float]
    fitted: list[float]


def _parts(
    triangles: Mapping[str, np.ndarray], noise: Mapping[str, float], prior_std: float
) -> _Parts:
    """By a QR factor of all rows and its inverse: O(D^3) in every call."""
    stacked = stacked_triangle(triangles, noise, prior_std)
    factor = stacked[:-1, :-1]
    mean = solve_triangular(factor, stacked[:-1, -1])
    inverse = solve_triangular(factor, np.eye(len(mean)))
    misfits, fitted = [], []
    for name, triangle in triangles.items():
        rows = triangle / noise[name]
        residual = rows[:, -1].copy()
        residual[:-1] -= rows[:-1, :-1] @ mean
        misfits.append(float(residual @ residual))
        fitted.append(float(np.sum((rows[:-1, :-1] @ inverse) ** 2)))
    logdet = 2.0 * float(np.sum(np.log(np.diagonal(factor))))
    determined = len(mean) - float(np.sum(inverse**2)) / prior_std**2
    penalty = float(mean @ mean) / prior_std**2
    return _Parts(len(mean), determined, logdet, penalty, misfits, fitted)


class _Spread(NamedTuple):
    """The rows of one property in the directions that the prior leaves alone.

    With A = U s V^T these are V: the precision is diagonal in them whatever prior and noise.
    ``targets`` is U^T y and ``outside`` the squared length of what of y no coefficients reach.
    """

    singular: np.ndarray
    targets: np.ndarray
    outside: float

    @classmethod
    def of(cls, triangle: np.ndarray) -> _Spread:
        """From the QR factor ``(D+1, D+1)`` of [rows, targets]; once, O(D^3)."""
        left, singular, _ = svd(triangle[:-1, :-1], check_finite=False)
        return cls(singular, left.T @ triangle[:-1, -1], float(triangle[-1, -1]) ** 2)

    def parts(self, noise: float, prior_std: float) -> _Parts:
        """As `_parts`, in O(D)."""
        informed = (self.singular / noise) ** 2
        precision = informed + prior_std**-2.0
        mean = self.singular * self.targets / noise**2 / precision
        left = self.targets / precision / prior_std**2 / noise
        determined = float(np.sum(informed / precision))
        return _Parts(
            len(mean),
            determined,
            float(np.sum(np.log(precision))),
            float(mean @ mean) / prior_std**2,
            [float(left @ left) + self.outside / noise**2],
            [determined],
        )
