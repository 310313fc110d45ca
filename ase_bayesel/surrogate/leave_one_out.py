"""How far force uncertainties are from errors: every training structure predicted by the others.

A linear model of a basis that is too small is more wrong than its posterior says. It orders
structures well, though, and one factor from left-out structures brings it near the errors.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from ase import Atoms
from scipy.linalg import LinAlgError, solve

from ..descriptors.base import Features, Sketch
from ..structures.labels import PropertyKeys
from ..structures.reference_energies import fitted_targets
from .design import property_targets, row_scales, training_features, weighted_rows
from .surrogate import Surrogate

MOST = 100
"""So many structures are left out in turn, evenly spread over the training set."""
NOTHING_TO_LEARN = 1e-9
"""Mean variance of forces that vanish by symmetry, over that of the noise: they say nothing."""


def fitting_force_scale(
    frames: Sequence[Atoms],
    surrogate: Surrogate,
    keys: PropertyKeys,
    force_projections: int | None = None,
) -> Generator[int, None, float]:
    """The factor between force errors and their deviations; yields how many structures are done.

    For each structure g with rows A (weighted), residuals r of the fit and H = A Sigma A^T, the
    others predict it with the residuals (I - H)^-1 r and the variances of (I - H)^-1 H, in units of
    the noise: what a fit without it would give, in closed form. The factor of a structure is the
    ratio of their root mean squares over its force rows, and the median over the structures is
    taken, at least one.

    Parameters
    ----------
    frames
        The training set; the fit's hyperparameters are not changed by what is left out.
    surrogate
        Fitted to it.
    keys
        Where its labels are.
    force_projections
        As in the fit.
    """
    step = -(-len(frames) // MOST)
    chosen = [frames[k] for k in range(0, len(frames), max(step, 1))]
    features = training_features(chosen, surrogate.descriptor, force_projections)
    ratios = []
    for done, (atoms, of_structure) in enumerate(zip(chosen, features, strict=True), start=1):
        errors, variances = _left_out(atoms, of_structure, surrogate, keys)
        if variances.sum() > NOTHING_TO_LEARN * len(variances):
            ratios.append(np.sqrt(np.sum(errors**2) / variances.sum()))
        yield min(done * step, len(frames))
    return max(1.0, float(np.median(ratios))) if ratios else 1.0


def _left_out(
    atoms: Atoms, features: Features | Sketch, surrogate: Surrogate, keys: PropertyKeys
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and variances of a structure's force rows as the others predict them."""
    labels = fitted_targets(atoms, keys, surrogate.e0s)
    baseline = surrogate.baseline(atoms)
    scales = row_scales(atoms, labels, surrogate.properties, baseline, surrogate.energy_weights)
    if "forces" not in scales:
        return np.empty(0), np.empty(0)
    rows, residuals, forces = [], [], []
    for prop, scale in scales.items():
        own = scale * weighted_rows(features, surrogate.noise, [prop])
        observed = property_targets(labels, prop, baseline)
        if observed is None:
            return np.empty(0), np.empty(0)
        if prop == "forces" and isinstance(features, Sketch):
            observed = features.project(observed.reshape(-1, 3))
        observed = observed * scale / surrogate.noise.std(prop, len(atoms))
        rows.append(own)
        residuals.append(observed - own @ surrogate.posterior.mean)
        forces.append(np.full(len(own), prop == "forces"))
    white = surrogate.posterior.whiten(np.concatenate(rows))
    known = white.T @ white
    residual, of_forces = np.concatenate(residuals), np.concatenate(forces)
    try:
        left_out = solve(np.eye(len(known)) - known, np.column_stack([residual, known]))
    except LinAlgError:  # nothing else knows of it
        return np.empty(0), np.empty(0)
    return left_out[of_forces, 0], np.diag(left_out[:, 1:])[of_forces]
