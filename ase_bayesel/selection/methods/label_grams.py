"""What labels of many rows say, in one symmetric matrix each: cheap bounds of their scores.

A label with rows A adds C = R^-T A^T A R^-1 to the precision, in coordinates in which that at the
start, R^T R, is the identity. Every score of whole labels follows from C and one Cholesky factor,
of D rows however many A has, and a triangle of it takes half of their memory. `greedy` bounds
scores by it, and evaluates from the rows those that may be the largest. Where rounding leaves no
factor a bound is infinite.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.linalg.lapack import dpotrf, dtpttr, dtrttp

from ...surrogate.posterior import Posterior
from ...surrogate.triangular import reduced
from .greedy import Rows

MARGIN = 1e-9
"""Added to a bound for rounding, as a part of what it is taken from, besides `CONDITION`."""
CONDITION = 10.0 * float(np.finfo(float).eps)
"""Rounding of a solution with a factor, over its condition number as its diagonal tells it."""


class LabelGrams:
    """The matrices C of all candidates, kept while there is room, and made again beyond.

    Parameters
    ----------
    rows
        Weighted rows ``(k, D)`` of a candidate's label.
    posterior
        The one at the start.
    room
        Bytes of what is kept.
    """

    def __init__(self, rows: Rows, posterior: Posterior, room: int) -> None:
        self._rows, self.start, self._room = rows, posterior, room
        self._kept: dict[int, np.ndarray] = {}
        self._of: Posterior | None = None
        self._precision = np.empty(0)

    def factor(self, posterior: Posterior, index: int | None = None) -> np.ndarray:
        """Upper-triangular ``(D, D)`` factor of the precision, with a candidate's label or none."""
        if self._of is not posterior:
            white = self.start.whiten(posterior.precision_factor)
            self._of, self._precision = posterior, _packed(dsyrk(1.0, white))
        total = self._precision if index is None else self._precision + self._gram(index)
        full, _ = dtpttr(self.start.n_features, total)
        factor, info = dpotrf(full, overwrite_a=True)
        if info != 0:
            raise np.linalg.LinAlgError(f"LAPACK dpotrf failed with info = {info}")
        return np.asarray(factor)

    def _gram(self, index: int) -> np.ndarray:
        gram = self._kept.get(index)
        if gram is None:
            gram = _packed(dsyrk(1.0, self.start.whiten(self._rows(index))))
            if gram.nbytes <= self._room:
                self._room -= gram.nbytes
                self._kept[index] = gram
        return gram


class GainBound:
    """A little above `scores.information_gain` of the labels."""

    def __init__(self, grams: LabelGrams) -> None:
        self._grams = grams

    def __call__(self, posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        try:
            factor = self._grams.factor(posterior)
        except np.linalg.LinAlgError:
            return np.full(len(indices), np.inf)
        before, rounding = _logdet(factor), CONDITION * len(factor) * _condition(factor)
        bounds = np.full(len(indices), np.inf)
        for place, index in enumerate(indices.tolist()):
            with suppress(np.linalg.LinAlgError):
                factor = self._grams.factor(posterior, index)
                after = _logdet(factor)
                margin = rounding + CONDITION * len(factor) * _condition(factor)
                bounds[place] = after - before + MARGIN * (1.0 + abs(after)) + margin
        return bounds


class TargetBound:
    """A little above `scores.target_reduction` of the labels.

    The variance of the targets before, less that after. Where the difference is small beside
    both, rounding counts, and the bound is as much higher.

    Parameters
    ----------
    grams
        Of the labels.
    targets
        ``(T, D)`` linear functionals of the coefficients.
    """

    def __init__(self, grams: LabelGrams, targets: np.ndarray) -> None:
        self._grams, self._white = grams, grams.start.whiten(reduced(targets))

    def __call__(self, posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        bounds = np.full(len(indices), np.inf)
        try:
            before, condition = self._left(self._grams.factor(posterior))
        except np.linalg.LinAlgError:
            return bounds
        margin = MARGIN + CONDITION * condition
        for place, index in enumerate(indices.tolist()):
            with suppress(np.linalg.LinAlgError):
                after, condition = self._left(self._grams.factor(posterior, index))
                bounds[place] = before - after + (margin + CONDITION * condition) * before
        return bounds

    def _left(self, factor: np.ndarray) -> tuple[float, float]:
        """Summed variance of the targets, and what the factor's diagonal says of its condition."""
        white = dtrsm(1.0, factor, self._white, trans_a=1)
        return float(np.vdot(white, white)), _condition(factor)


def _packed(upper: np.ndarray) -> np.ndarray:
    packed, _ = dtrttp(upper)
    return np.asarray(packed)


def _condition(factor: np.ndarray) -> float:
    """What the diagonal of a factor says of the condition of the precision."""
    diagonal = np.diagonal(factor)
    return float((diagonal.max() / diagonal.min()) ** 2)


def _logdet(factor: np.ndarray) -> float:
    return 2.0 * float(np.sum(np.log(np.diagonal(factor))))
