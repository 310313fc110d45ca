"""CUR selection: leverage scores of structures and of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ...errors import SelectionError
from ...surrogate.triangular import append_rows
from .result import Selection, check_matrix, check_number, optional, selection

RANK_TOLERANCE = 1e-8


def cur(features: np.ndarray, n: int) -> Selection:
    """CUR on structure features, one singular vector at a time (Imbalzano et al. 2018).

    Each pick has the largest component of the leading left singular vector; all rows are then
    made orthogonal to it (``CUR`` of scikit-matter with k = 1). Greedy, so that fewer picks
    are a prefix of more. From the numerical rank of the features on, where rows have nothing
    left, the others follow in the order of the pool.

    Parameters
    ----------
    features
        ``(M, D)``, centred and scaled as wanted; large rows have large leverage.
    n
        How many to pick.

    Returns
    -------
    No scores.
    """
    check_number(n, len(check_matrix("features", features)))
    spread = np.linalg.svd(features, compute_uv=False) if features.size else np.zeros(1)
    rank = int(np.sum(spread > RANK_TOLERANCE * spread[0]))
    picks: list[int] = []
    if rank > 1:
        model = optional("skmatter.sample_selection", "scikit-matter").CUR(
            n_to_select=min(max(n, 1), rank - 1), k=1, recompute_every=1
        )
        picks = model.fit(features).selected_idx_.tolist()
    left = np.setdiff1d(np.arange(len(features)), picks).tolist()
    return selection([*picks, *left][:n])


def atomic_cur(
    atoms: Sequence[np.ndarray],
    n: int,
    reduce: Literal["mean", "sum"] = "mean",
    explained: float = 0.99,
) -> Selection:
    """The structures with the largest mean or sum of their atoms' leverage scores.

    With the k leading singular triplets X ~ U S V^T of all atoms' rows, the least k that hold
    the part ``explained`` of their squared length, an atom's score is the squared length of
    its row of U (Mahoney and Drineas 2009). With all singular vectors every score would be
    the same where there are more features than atoms. The scores are taken once: nothing keeps
    two picks apart, but fewer picks are a prefix of more.

    Parameters
    ----------
    atoms
        M arrays ``(n_atoms, D)``, centred and scaled as wanted; read twice, in turn.
    n
        How many to pick.
    reduce
        ``"mean"``, or ``"sum"``, which favours large structures.

    Returns
    -------
    Scores are those means or sums.
    """
    check_number(n, len(atoms))
    if reduce not in ("mean", "sum") or not 0.0 < explained < 1.0:
        raise SelectionError("atomic_cur: reduce is 'mean' or 'sum', 0 < explained < 1")
    width = atoms[0].shape[1]
    factor = np.zeros((width, width))
    for number in range(len(atoms)):
        factor = append_rows(factor, check_matrix(f"atoms of structure {number}", atoms[number]))
    _, spread, right = np.linalg.svd(factor)
    part = np.cumsum(spread**2)
    rank = int(np.searchsorted(part, explained * part[-1])) + 1
    to_scores = right[:rank].T / np.maximum(spread[:rank], np.finfo(float).tiny)
    leverage = [np.sum((rows @ to_scores) ** 2, axis=1) for rows in atoms]
    scores = np.array([getattr(np, reduce)(values) for values in leverage])
    picks = np.argsort(-scores, kind="stable")[:n]
    return selection(picks.tolist(), scores[picks].tolist())
