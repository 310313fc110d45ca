"""The Gaussian posterior of linear coefficients, held by its precision.

Sigma^-1 = Phi^T Lambda Phi + Sigma0^-1 (Eqs. 1 and 7 of Rocke and Kermode,
2025). Rows are given already weighted, that is divided by the standard
deviation of their noise, so Lambda is the identity here. numpy and scipy only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import BinaryIO, cast

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.linalg.blas import dtrsm, dtrsv
from scipy.linalg.lapack import dtrcon

from ..errors import PosteriorError, SingularPrecisionError
from ..io.bounded_npz import checked_npz, real
from ..io.formats import KEY, POSTERIOR
from .triangular import append_rows, factor_of_observed

MIN_RCOND = 1e-13
"""Smallest reciprocal condition number of the column-normalised factor."""
MIN_REMAINING = 1e-12
"""Smallest share of a direction's information that `Posterior.without` may leave."""


@dataclass(frozen=True)
class Posterior:
    """Gaussian N(mean, Sigma) over D coefficients; an immutable value.

    Attributes
    ----------
    precision_factor
        ``(D, D)`` upper triangular R with R^T R = Sigma^-1. Not a covariance.
    mean
        ``(D,)`` posterior mean of the coefficients.
    """

    precision_factor: np.ndarray
    mean: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.mean)
        if self.precision_factor.shape != (n, n) or self.mean.ndim != 1:
            raise PosteriorError(
                f"precision factor {self.precision_factor.shape} and mean {self.mean.shape} "
                "do not fit together"
            )
        if not np.isfinite(self.mean).all():
            raise PosteriorError("mean: holds values that are not finite")
        for name, array in (
            ("precision_factor", np.triu(self.precision_factor)),
            ("mean", self.mean),
        ):
            copy = np.array(array, dtype=float, order="F")
            copy.flags.writeable = False
            object.__setattr__(self, name, copy)
        _check_regular(self.precision_factor)

    @classmethod
    def from_prior(cls, prior_std: np.ndarray) -> Posterior:
        """Independent coefficients of mean 0 and standard deviations ``prior_std (D,)``."""
        prior_std = np.asarray(prior_std, float)
        if prior_std.ndim != 1 or not np.isfinite(prior_std).all() or (prior_std <= 0).any():
            raise PosteriorError("prior_std: expected a vector of finite positive numbers")
        return cls(np.diag(1.0 / prior_std), np.zeros(len(prior_std)))

    @classmethod
    def isotropic(cls, n_features: int, std: float) -> Posterior:
        """The prior Sigma0 = std^2 times the identity."""
        return cls.from_prior(np.full(n_features, float(std)))

    @property
    def n_features(self) -> int:
        """Number D of coefficients."""
        return len(self.mean)

    @property
    def logdet(self) -> float:
        """log det of the precision Sigma^-1; it grows with information."""
        return 2.0 * float(np.sum(np.log(np.diagonal(self.precision_factor))))

    def condition(self, rows: np.ndarray, targets: np.ndarray | None = None) -> Posterior:
        """The posterior after more observations (Eq. 3), by a rank-k QR update.

        Parameters
        ----------
        rows
            ``(k, D)`` feature rows divided by their noise, or one row ``(D,)``.
        targets
            ``(k,)`` observations divided by the same noise. Without them the
            covariance is updated and the mean stays, which is what observing
            exactly the predicted values would do.

        Raises
        ------
        PosteriorError
            If the rows have another width or are not finite.
        SingularPrecisionError
            If the updated precision is numerically singular.
        """
        rows = self._checked(rows)
        if targets is None:
            return Posterior(append_rows(self.precision_factor, rows), self.mean)
        targets = np.asarray(targets, float).reshape(-1)
        if targets.shape != (len(rows),) or not np.isfinite(targets).all():
            raise PosteriorError(f"targets: expected {len(rows)} finite numbers")
        n = self.n_features
        extended = np.zeros((n + 1, n + 1))
        extended[:n, :n] = self.precision_factor
        extended[:n, n] = self.precision_factor @ self.mean
        extended = append_rows(extended, np.column_stack([rows, targets]))
        return Posterior.from_triangle(extended)

    def without(self, rows: np.ndarray) -> Posterior:
        """The covariance as if these rows had never been seen; the mean stays.

        With W = R^-T A^T = U s V^T the precision is R^T (I - U s^2 U^T) R, whose factor comes
        from a QR step of (I - U s^2 U^T)^1/2 R: O(D^3 + k D^2).

        Parameters
        ----------
        rows
            ``(k, D)`` of the weighted rows that this posterior was made from.

        Raises
        ------
        SingularPrecisionError
            If nothing else is known of some direction (or the rows were never seen).
        """
        left, singular, _ = np.linalg.svd(self.whiten(rows), full_matrices=False)
        remaining = 1.0 - singular**2
        if remaining.min(initial=1.0) < MIN_REMAINING:
            raise SingularPrecisionError(
                "without these rows some direction has no information at all, or they are not "
                "among those that the posterior was made from"
            )
        weights = (np.sqrt(remaining) - 1.0)[:, None] * (left.T @ self.precision_factor)
        factor = qr(self.precision_factor + left @ weights, mode="r")[0]
        signs = np.where(np.diagonal(factor) < 0, -1.0, 1.0)
        return Posterior(factor * signs[:, None], self.mean)

    @classmethod
    def from_triangle(cls, triangle: np.ndarray) -> Posterior:
        """The posterior behind a ``(D+1, D+1)`` QR factor of weighted [rows, targets]."""
        factor = triangle[:-1, :-1].copy()
        _check_regular(factor)
        return cls(factor, solve_triangular(factor, triangle[:-1, -1]))

    def whiten(self, rows: np.ndarray) -> np.ndarray:
        """``(D, k)`` columns R^-T phi; their squared lengths are the variances."""
        return dtrsm(1.0, self.precision_factor, self._checked(rows).T, trans_a=1)

    def unwhiten(self, white: np.ndarray) -> np.ndarray:
        """R^-1 z of the columns of ``(D, k)``: Sigma is the sum over an orthonormal basis."""
        return solve_triangular(self.precision_factor, white)

    def variance(self, rows: np.ndarray) -> np.ndarray:
        """phi^T Sigma phi of each row, ``(k,)``; a single row ``(D,)`` gives a scalar array."""
        variances = np.sum(self.whiten(rows) ** 2, axis=0)
        return variances if np.ndim(rows) == 2 else variances[0]

    def covariance_times(self, row: np.ndarray) -> tuple[np.ndarray, float]:
        """Sigma phi ``(D,)`` and phi^T Sigma phi of one row."""
        white = dtrsv(self.precision_factor, self._checked(row)[0], trans=1)
        return dtrsv(self.precision_factor, white), float(white @ white)

    def information_gain(self, rows: np.ndarray) -> float:
        """What these weighted rows would add to `logdet`: log det(I + A Sigma A^T) (Eq. 4)."""
        white = self.whiten(rows)
        factor = factor_of_observed(white if white.shape[1] <= white.shape[0] else white.T)
        return 2.0 * float(np.sum(np.log(np.diagonal(factor))))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """``(n, D)`` coefficient vectors drawn from the posterior."""
        normal = rng.standard_normal((self.n_features, n))
        return self.mean + self.unwhiten(normal).T

    def save(self, file: str | PathLike | BinaryIO) -> None:
        """Write an npz (no pickle) that `load` reads back bit for bit."""
        with opened(file, "wb") as handle:
            np.savez(
                handle,
                format=str(POSTERIOR),
                precision_factor=self.precision_factor,
                mean=self.mean,
            )

    @classmethod
    def load(cls, file: str | PathLike | BinaryIO, name: str | PathLike | None = None) -> Posterior:
        """Read what `save` wrote; no code of the file runs.

        Parameters
        ----------
        file
            The file, or its content.
        name
            What errors call it; by default its path.

        Raises
        ------
        PosteriorError
            If the file is missing, torn, too large for its size, or not a saved posterior.
        SingularPrecisionError
            If its precision has no information in some direction.
        """
        called = file if name is None else name
        try:
            with (
                opened(file, "rb") as handle,
                np.load(checked_npz(handle), allow_pickle=False) as data,
            ):
                POSTERIOR.check(data[KEY], called, PosteriorError)
                factor = real(data["precision_factor"], (None, None))
                return cls(factor, real(data["mean"], (None,)))
        except PosteriorError as error:
            told = str(error)
            raise type(error)(
                told if told.startswith(f"{called}:") else f"{called}: {told}"
            ) from error
        except Exception as error:
            raise PosteriorError(
                f"{called}: cannot be read as a saved posterior ({error})"
            ) from error

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(rows, float))
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise PosteriorError(
                f"rows: expected (k, {self.n_features}), got {rows.shape}; "
                "do they come from another descriptor?"
            )
        if not np.isfinite(rows).all():
            raise PosteriorError("rows: hold values that are not finite")
        return rows


def opened(file: str | PathLike | BinaryIO, mode: str) -> AbstractContextManager[BinaryIO]:
    """A file by its very name, or an open one that stays open."""
    if isinstance(file, str | PathLike):
        return cast(BinaryIO, open(file, mode))
    return nullcontext(file)


def _check_regular(factor: np.ndarray) -> None:
    lengths = np.linalg.norm(factor, axis=0)
    if not np.isfinite(lengths).all():
        raise PosteriorError("precision factor: holds values that are not finite")
    if (np.diagonal(factor) <= 0).any():
        raise SingularPrecisionError("the precision has no information in some direction")
    rcond, _ = dtrcon(factor / lengths)
    if rcond < MIN_RCOND:
        raise SingularPrecisionError(
            f"the precision is numerically singular (reciprocal condition {rcond:.1e} after "
            "column scaling); use a narrower prior or larger noise"
        )
