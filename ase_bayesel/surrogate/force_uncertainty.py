"""Force uncertainties and force rows without the full Jacobian, for features of a network.

With Sigma = L L^T and J_i (3, D) the derivative of the feature row by atom i, the force
deviation sigma_F,i is the Frobenius norm of J_i L. All of J costs D backward passes or
3 N Jacobian-vector products; the methods here need some two dozen at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ..descriptors.base import EnergyAndFeatures, JointDescriptor
from ..structures.identity import geometry_id, structure_id
from ..structures.labels import whole_atoms
from .posterior import Posterior


class LeadingForce(NamedTuple):
    """The atom that leads a criterion, and its force deviation in eV/A."""

    atom: int
    force_std: float


def leading_force(force_std: np.ndarray, scales: np.ndarray) -> LeadingForce:
    """The largest of ``force_std / scales``, both ``(n_atoms,)``; NaN leads."""
    atom = int(np.argmax(force_std / scales))
    return LeadingForce(atom, float(force_std[atom]))


@dataclass(frozen=True)
class ForceSearch:
    """Finds the atom that leads a force criterion, and its exact force deviation.

    The deviations of all atoms are estimated from backward passes: one along the
    feature row, which gives |grad_i sigma_E|, and some along random orthonormal
    directions of the complement (Hutchinson 1990). For the candidates, which
    lead by this estimate, they are then formed from three Jacobian-vector products
    each. So the deviation of the atom that is named is exact, and what can go wrong is
    only that another atom has a somewhat larger one. benchmarks/mace_uncertainty.py
    measures by how much.

    The random directions follow from the structure: the same one gives the same answer.

    Attributes
    ----------
    n_probes
        Random directions.
    n_candidates
        Atoms whose deviation is formed exactly. In a structure of at most twice as many,
        all are.
    """

    n_probes: int = 10
    n_candidates: int = 4

    def __post_init__(self) -> None:
        if self.n_probes < 1 or self.n_candidates < 1:
            raise ValueError("n_probes and n_candidates must be at least 1")

    def __call__(
        self, descriptor: JointDescriptor, posterior: Posterior, atoms: Atoms, scales: np.ndarray
    ) -> LeadingForce:
        """The leading atom of ``force_std / scales``; ``scales (n_atoms,)``."""
        forward = descriptor.forward(atoms)
        candidates = np.arange(len(atoms))
        if len(atoms) > 2 * self.n_candidates:
            estimate = self.estimate(forward, posterior, _generator(atoms))
            candidates = np.argsort(estimate / scales)[::-1][: self.n_candidates]
        moves = np.eye(3 * len(atoms)).reshape(len(atoms), 3, len(atoms), 3)[candidates]
        variances = posterior.variance(forward.pushforward(moves.reshape(-1, len(atoms), 3)))
        force_std = np.sqrt(variances.reshape(-1, 3).sum(axis=1))
        best, value = leading_force(force_std, scales[candidates])
        return LeadingForce(int(candidates[best]), value)

    def estimate(
        self, forward: EnergyAndFeatures, posterior: Posterior, rng: np.random.Generator
    ) -> np.ndarray:
        """Estimated force deviations ``(n_atoms,)``, eV/A; their squares are unbiased."""
        n_random = min(self.n_probes, posterior.n_features - 1)
        along_phi = posterior.whiten(forward.phi)
        random = rng.standard_normal((posterior.n_features, n_random))
        directions, _ = np.linalg.qr(np.column_stack([along_phi, random]))
        squares = np.sum(_gradients(forward, posterior, directions) ** 2, axis=2)
        share = (posterior.n_features - 1) / max(n_random, 1)
        return np.sqrt(squares[0] + share * squares[1:].sum(axis=0))


def leading_force_rows(
    descriptor: JointDescriptor, posterior: Posterior, atoms: Atoms, n_rows: int
) -> np.ndarray:
    """Orthonormal combinations of a structure's force rows that say most, ``(k, D)``.

    Q^T Phi_F, with Q an orthonormal basis of the range of Phi_F L Omega for a random
    Omega ``(D, n_rows)`` (Halko, Martinsson and Tropp 2011, algorithm 4.1). They are
    observations with the noise of a force component, just fewer: a posterior with
    these rows never claims more certainty than one with all 3 N, and it keeps more
    uncertainty in the directions that are missing. Costs ``n_rows`` backward passes
    and as many Jacobian-vector products; the random numbers follow from the structure.

    Parameters
    ----------
    descriptor
        Features of a network.
    posterior
        Tells which combinations are uncertain.
    atoms
        The structure, of N atoms.
    n_rows
        How many rows, k; 3 N or D where that is less. Of a cut-out only its whole atoms count.

    Raises
    ------
    ValueError
        If ``n_rows`` is below 1.
    """
    if n_rows < 1:
        raise ValueError(f"n_rows: must be at least 1, got {n_rows}")
    whole = whole_atoms(atoms)
    n_atoms = len(atoms) if whole is None else int(whole.sum())
    n_rows = min(n_rows, 3 * n_atoms, posterior.n_features)
    forward = descriptor.forward(atoms)
    random = _generator(atoms).standard_normal((posterior.n_features, n_rows))
    gradients = _gradients(forward, posterior, random)
    if whole is not None:
        gradients[:, ~whole] = 0.0
    basis, _ = np.linalg.qr(gradients.reshape(n_rows, -1).T)
    return -forward.pushforward(basis.T.reshape(n_rows, len(atoms), 3))


def _gradients(
    forward: EnergyAndFeatures, posterior: Posterior, directions: np.ndarray
) -> np.ndarray:
    """Gradients ``(k, n_atoms, 3)`` of phi along L times the columns ``(D, k)``."""
    cotangents = posterior.unwhiten(directions).T
    return np.array([forward.gradient(0.0, cotangent).positions for cotangent in cotangents])


def _generator(atoms: Atoms) -> np.random.Generator:
    return np.random.default_rng(int(geometry_id(structure_id(atoms))[1:], 16))
