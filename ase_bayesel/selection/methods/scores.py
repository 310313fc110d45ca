"""Scores of candidates under a posterior, for `greedy`.

All of them but `target_reduction` shrink, or stay, as the posterior learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.blas import dgemm

from ...errors import SelectionError
from ...surrogate.posterior import Posterior
from ...surrogate.triangular import factor_of_observed, reduced
from .greedy import Rows, Score
from .whitened import row_blocks


def energy_variance(rows: np.ndarray, n_atoms: np.ndarray) -> Score:
    """Variance of the energy per atom, phi^T Sigma phi / n_atoms^2, eV^2 (Eq. 5).

    ``rows (M, D)`` are the feature rows of the pool, ``n_atoms (M,)`` their sizes.
    """

    def score(posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        scores = np.empty(len(indices))
        for block in row_blocks(len(indices)):
            chosen = indices[block]
            scores[block] = posterior.variance(rows[chosen]) / n_atoms[chosen] ** 2
        return scores

    return score


def force_variance(force_rows: Rows) -> Score:
    """Largest variance of a force in the structure, (eV/A)^2 (Eq. 6).

    ``force_rows`` gives the ``(3 n_atoms, D)`` unweighted force rows of a candidate. The
    variance of one atom's force is the trace of its 3x3 covariance, which does not depend on
    the orientation of the axes.
    """

    def largest(posterior: Posterior, index: int) -> float:
        return float(posterior.variance(force_rows(index)).reshape(-1, 3).sum(axis=1).max())

    return _each(largest)


def information_gain(rows: Rows) -> Score:
    """log det(I + A Sigma A^T) of all weighted rows A of a label (Eq. 4); no unit.

    Twice the mutual information, in nats, between the label and the coefficients.
    """
    return _each(lambda posterior, index: posterior.information_gain(rows(index)))


def target_reduction(rows: Rows, targets: np.ndarray) -> Score:
    """By how much the summed variance of the targets falls (`targets.target_variance`).

    For labels of several rows A: tr(W^T B (I + B^T B)^-1 B^T W), B = R^-T A^T and W = R^-T t^T;
    with the Cholesky factor C^T C = I + B^T B the squared length of C^-T B^T W. May grow as the
    posterior learns. O(D^3) for each candidate with D rows (see `triangular.reduced`).
    """
    targets = reduced(targets)

    def score(posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        white_targets = posterior.whiten(targets)

        def fall(index: int) -> float:
            white = posterior.whiten(rows(index))
            overlap = dgemm(1.0, white, white_targets, trans_a=1)
            factor = factor_of_observed(white)
            fallen = solve_triangular(factor, overlap, trans="T", check_finite=False)
            return float(np.sum(fallen**2))

        return np.array([fall(int(index)) for index in indices])

    return score


def energy_target_reduction(rows: np.ndarray, noise: np.ndarray, targets: np.ndarray) -> Score:
    """`target_reduction` of labels of energies alone, all candidates in one product.

    Parameters
    ----------
    rows
        ``(M, D)`` feature rows of the pool; may be memory-mapped.
    noise
        ``(M,)`` of the energies, eV.
    targets
        ``(T, D)`` linear functionals of the coefficients.
    """
    targets = reduced(targets)

    def score(posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        white_targets = posterior.whiten(targets)
        scores = np.empty(len(indices))
        for block in row_blocks(len(indices)):
            chosen = indices[block]
            white = posterior.whiten(rows[chosen] / noise[chosen, None])
            overlap = dgemm(1.0, white, white_targets, trans_a=1)
            known = 1.0 + np.einsum("ij,ij->j", white, white)
            scores[block] = np.einsum("ij,ij->i", overlap, overlap) / known
        return scores

    return score


def weighted_sum(
    scores: Sequence[Score], weights: Sequence[float], posterior: Posterior, n_pool: int
) -> Score:
    """sum_k weights_k score_k / m_k, m_k the largest score_k in the pool under ``posterior``.

    The m_k are those before the first pick and stay, so that a sum of shrinking scores shrinks.

    Parameters
    ----------
    scores
        The scores to add up.
    weights
        A positive number for each.
    posterior
        The one before the first pick.
    n_pool
        Number M of candidates.

    Raises
    ------
    SelectionError
        If a score has no positive weight.
    """
    if not weights or len(scores) != len(weights) or not min(weights) > 0:
        raise SelectionError("weights: expected a positive number for each score")
    everyone = np.arange(n_pool)
    largest = [float(score(posterior, everyone).max()) for score in scores]
    factors = [w / m if m > 0 else 0.0 for w, m in zip(weights, largest, strict=True)]

    def score(posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        parts = [f * part(posterior, indices) for f, part in zip(factors, scores, strict=True)]
        return np.sum(parts, axis=0)

    return score


def _each(of_candidate: Callable[[Posterior, int], float]) -> Score:
    """A score from that of a single candidate."""

    def score(posterior: Posterior, indices: np.ndarray) -> np.ndarray:
        return np.array([of_candidate(posterior, int(index)) for index in indices])

    return score
