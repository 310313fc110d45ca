"""Selection by the information entropy of the atomic environments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...surrogate.posterior import Posterior
from ...surrogate.triangular import append_rows
from .greedy import greedy
from .result import Selection, check_number
from .scores import information_gain


def entropy(
    atoms: Sequence[np.ndarray],
    n: int,
    core: Sequence[np.ndarray] = (),
    ridge: float = 1e-3,
) -> Selection:
    """Greedily pick what most raises the entropy of the set's distribution of environments.

    A pool form of the scheme of Subramanyam and Perez (2025), who generate structures that
    maximise the information entropy of the features of a data set. The distribution is that of
    core and picks with equal weight per structure whatever its size, and its entropy is that of
    a Gaussian of the same second moments, 1/2 log det C with
    C = ridge (1 + n_core) I + sum_s (1/N_s) sum_i x_i x_i^T  over structures s and atoms i (the
    count of structures is the same for all candidates and left out). The moments are about the
    origin, so that entropy gains are submodular: evaluated lazily, O(N D^2) each.
    Greedy, so that fewer picks are a prefix of more; ties go to the lower index.

    Parameters
    ----------
    atoms
        M arrays ``(n_atoms, D)`` of atomic features, centred and with unit variance, read on
        demand.
    n
        How many to pick.
    core
        The same of the core set, read once.
    ridge
        Variance in directions that no structure spans, per structure.

    Returns
    -------
    Scores are gains of entropy, nats.
    """
    check_number(n, len(atoms))
    width = atoms[0].shape[1]
    factor = np.sqrt(ridge * (1 + len(core))) * np.eye(width)
    for values in core:
        factor = append_rows(factor, _rows(values))
    known = Posterior(factor, np.zeros(width))

    def rows(index: int) -> np.ndarray:
        return _rows(atoms[index])

    gains = greedy(len(atoms), n, known, information_gain(rows), rows)
    return Selection(gains.indices, gains.scores / 2.0)


def _rows(values: np.ndarray) -> np.ndarray:
    return values / np.sqrt(len(values))
