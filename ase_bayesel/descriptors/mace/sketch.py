"""Force rows from random projections: the information of a large structure at a fixed price."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from .descriptor import MACEDescriptor
from .rows import checked_pushforward


@dataclass(frozen=True)
class ForceSketch:
    """Projected force rows of one structure.

    ``rows (m, D)`` are m random combinations of its 3 N force rows Phi_F, scaled
    such that ``rows.T @ rows`` has the expectation Phi_F^T Phi_F. Divided by the
    noise of a force component they can condition a posterior in their place.
    """

    rows: np.ndarray

    @property
    def n_projections(self) -> int:
        """Number m of random projections."""
        return len(self.rows)

    @property
    def gram(self) -> np.ndarray:
        """``(D, D)`` unbiased estimate of Phi_F^T Phi_F, of rank m at most."""
        return self.rows.T @ self.rows


def force_sketch(
    descriptor: MACEDescriptor, atoms: Atoms, n_projections: int, rng: np.random.Generator
) -> ForceSketch:
    """Unbiased sketch of the force rows from ``n_projections`` Jacobian-vector products.

    Row k is Phi_F^T v_k / sqrt(m) with independent signs v_k = +-1, so that the
    mean over v of rows^T rows is Phi_F^T Phi_F (Hutchinson 1990). Its variance
    falls as 1/m: the Frobenius error is at most
    sqrt((tr(G)^2 + |G|_F^2) / m) on average, G = Phi_F^T Phi_F. Because every
    row has full weight a sketch of few projections claims more certainty along
    its own directions than the exact rows would, and none across them.

    The price is one pass of forward mode per projection.

    Raises
    ------
    DescriptorError
        If forward-mode derivatives are not right for this model.
    """
    if n_projections < 1:
        raise ValueError(f"n_projections: must be at least 1, got {n_projections}")
    signs = rng.choice([-1.0, 1.0], size=(n_projections, len(atoms), 3))
    slopes = checked_pushforward(descriptor.network, atoms, descriptor.columns, signs)
    return ForceSketch(-slopes / np.sqrt(n_projections))
