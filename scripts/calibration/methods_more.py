"""Ways that say more of where the error lies: elements, committees, pointwise corrections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from ase_bayesel import fit_surrogate
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.surrogate.design import iterate_features, property_rows, weighted_rows
from ase_bayesel.surrogate.scales import HeldOut, Scale

from .fit import KEYS, PROPERTIES, Deviations, Fit, Frames, Result, Rows, scales_of

COMMITTEE = (1, 2, 3)
"""Degrees less than that of the fit."""
ENVIRONMENTS, COMPONENTS = 4, 8
"""Clusters of atoms in their features' leading components."""


def by_element(fit: Fit) -> Result:
    """A scale for the forces on each element."""
    return _by_kind_of_atom(fit, lambda frames: np.concatenate([a.numbers for a in frames]))


def by_environment(fit: Fit) -> Result:
    """A scale for the forces of each of `ENVIRONMENTS` clusters of the training set's atoms."""
    known = np.concatenate(fit.features([fit.train[k] for k in fit.known]))
    mean = known.mean(axis=0)
    _, singular, right = np.linalg.svd(known - mean, full_matrices=False)
    n = min(COMPONENTS, int(np.sum(singular > 1e-9 * singular[0])))
    whitening = right[:n].T / singular[:n]
    centres, labels = kmeans2((known - mean) @ whitening, ENVIRONMENTS, seed=1, minit="++")
    centres = centres[np.unique(labels)]

    def nearest(frames: Frames) -> np.ndarray:
        values = np.concatenate(fit.features(frames))
        return np.asarray(vq((values - mean) @ whitening, centres)[0])

    return _by_kind_of_atom(fit, nearest)


def _by_kind_of_atom(fit: Fit, kinds_of: Callable[[Frames], np.ndarray]) -> Result:
    """A scale for the forces on each kind of atoms; ``kinds_of`` gives one number for each atom."""
    rows, left = fit.alone["forces"], [fit.train[k] for k in fit.known]
    kinds = np.repeat(kinds_of(left), 3)
    factors = {}
    for kind in np.unique(kinds).tolist():
        own = kinds == kind
        part = HeldOut(rows.errors[own], rows.deviations[own], rows.structures[own])
        factors[kind] = Scale.of(part).value

    def scaled(frames: Frames, forces: HeldOut) -> HeldOut:
        factor = [factors[kind] for kind in np.repeat(kinds_of(frames), 3).tolist()]
        return HeldOut(forces.errors, factor * forces.deviations, forces.structures)

    tested = {
        kind: {**own, "forces": scaled(fit.kinds[kind], own["forces"])}
        for kind, own in fit.tested.items()
    }
    return tested, scales_of({**fit.alone, "forces": scaled(left, rows)})


def committee(fit: Fit) -> Result:
    """The spread of fits of lower degrees around the fit itself, with the scale of left-out ones.

    The differences of two fits are those of their errors.
    """
    descriptor, members = fit.surrogate.descriptor, []
    assert isinstance(descriptor, ACEDescriptor)
    for less in COMMITTEE:
        degree = descriptor.totaldegree - less
        smaller = ACEDescriptor(descriptor.elements, descriptor.order, degree, descriptor.cutoff)
        other = fit_surrogate(fit.train, smaller, KEYS.energy, KEYS.forces, e0s=fit.surrogate.e0s)
        members.append(Fit(other, fit.train, fit.kinds))

    def spread(ours: Rows, theirs: Sequence[Rows]) -> Rows:
        result = {}
        for prop, rows in ours.items():
            differences = np.array([rows.errors - own[prop].errors for own in theirs])
            std = np.sqrt(np.mean(differences**2, axis=0))
            result[prop] = HeldOut(rows.errors, std, rows.structures)
        return result

    tested = {k: spread(rows, [m.tested[k] for m in members]) for k, rows in fit.tested.items()}
    return tested, scales_of(spread(fit.alone, [member.alone for member in members]))


def pops(fit: Fit) -> Result:
    """Pointwise optimal corrections: Swinburne and Perez, Mach. Learn.: Sci. Technol. 6 (2025).

    Each training row is fitted exactly by the smallest shift of the coefficients in the metric of
    the fit, Sigma phi r / (phi^T Sigma phi); the variance is the mean square of what these shifts
    change, weighted by leverage. A structure that is left out takes its own shifts with it.
    """
    surrogate, metrics, totals = fit.surrogate, [], []
    posterior = surrogate.posterior
    features = iterate_features(fit.train, surrogate.descriptor)
    for atoms, found in zip(fit.train, features, strict=True):
        rows = weighted_rows(found, surrogate.noise)
        labels = np.concatenate(
            [
                [
                    (atoms.info[KEYS.energy] - surrogate.baseline(atoms))
                    / surrogate.noise.std("energy", len(atoms))
                ],
                atoms.arrays[KEYS.forces].ravel() / surrogate.noise.forces,
            ]
        )
        white = posterior.whiten(rows)
        leverage = np.maximum(np.square(white).sum(axis=0), 1e-12)
        residuals = labels - rows @ posterior.mean
        shifts = posterior.unwhiten(white) * (residuals / np.sqrt(leverage))
        metrics.append(shifts @ shifts.T)
        totals.append(leverage.sum())
    whole, total = np.sum(metrics, axis=0), float(np.sum(totals))

    def deviations(frames: Frames, covariances: Sequence[np.ndarray]) -> Deviations:
        parts: dict[str, list[np.ndarray]] = {prop: [] for prop in PROPERTIES}
        found = iterate_features(frames, surrogate.descriptor)
        for each, covariance in zip(found, covariances, strict=True):
            for prop in PROPERTIES:
                rows = property_rows(each, prop)
                variances = np.einsum("ij,ij->i", rows @ covariance, rows)
                parts[prop].append(np.sqrt(np.maximum(variances, 0.0)))
        return {prop: np.concatenate(own) for prop, own in parts.items()}

    def from_all(frames: Frames) -> Deviations:
        return deviations(frames, [whole / total] * len(frames))

    without = [(whole - metrics[k]) / (total - totals[k]) for k in fit.known]
    known = deviations([fit.train[k] for k in fit.known], without)
    left = {p: HeldOut(r.errors, known[p], r.structures) for p, r in fit.alone.items()}
    return fit.with_deviations(from_all), scales_of(left)
