"""What further labels would do: deviations over the structures that a model is meant for.

The covariance does not depend on labels, so it says how much they lower it before there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..descriptors.base import Features, Sketch
from ..structures.labels import PropertyKeys, whole_atoms
from ..structures.reference_energies import fitted_targets
from .design import (
    property_rows,
    training_features,
    usable_properties,
    weighted_rows,
)
from .outlook import Outlook
from .surrogate import Surrogate

TOLERANCE = 1e-6
MOST_REMOVED = 1.0 - TOLERANCE
"""Of what is known of a direction, the largest share that a batch may have brought."""


def outlooks(
    surrogate: Surrogate,
    intended: Sequence[Atoms],
    batch: Sequence[Atoms],
    force_projections: int | None = None,
    keys: PropertyKeys | None = None,
) -> dict[str, Outlook]:
    """The outlook on energies and forces, where labels hold them; empty without structures.

    Let A be the white rows of the batch as columns, and A^T A = V h V^T: a white row w of an
    intended structure has the variance \\|w\\|^2, and without the batch more by the sum of
    (V^T A^T w)^2 / (1 - h).

    Parameters
    ----------
    surrogate
        Fitted, knowing the batch.
    intended
        Structures as they will be met; no label is needed.
    batch
        The last structures that it has learnt.
    force_projections
        As in the fit.
    keys
        Of the labels of the batch, by which its rows count as in the fit; None where there are
        none, and predicted energies say how much they count.
    """
    if not intended or not batch:
        return {}
    posterior, descriptor = surrogate.posterior, surrogate.descriptor
    learnt = _learnt(surrogate, batch, force_projections, keys)
    if learnt is None:
        return {}
    properties = [prop for prop in ("energy", "forces") if prop in surrogate.properties]
    sums: dict[str, list[np.ndarray]] = {prop: [] for prop in properties}
    features = training_features(intended, descriptor, force_projections)
    for atoms, own in zip(intended, features, strict=True):
        whole = whole_atoms(atoms)
        for prop in usable_properties(atoms, properties):
            size = len(atoms) if prop == "energy" else _rms_of_components(own, atoms)
            white = posterior.whiten(property_rows(own, prop, whole) / size)
            now = np.sum(white**2, axis=0)
            before = now + np.sum((learnt.T @ white) ** 2, axis=0)
            std = surrogate.noise.std(prop, len(atoms))
            noise = (std / len(atoms) if prop == "energy" else std) ** 2
            sums[prop].append(np.array([before.mean(), now.mean(), noise]))
    found = {prop: np.sqrt(np.mean(rows, axis=0)) for prop, rows in sums.items() if rows}
    return {
        prop: Outlook(*values.tolist())
        for prop, values in found.items()
        if np.isfinite(values).all()
    }


def _rms_of_components(features: Features | Sketch, atoms: Atoms) -> float:
    """By what rows of forces are divided, so that a mean over them is one over components.

    The variances of m projections sum up to those of all 3 N components.
    """
    if isinstance(features, Sketch):
        return float(np.sqrt(3 * len(atoms) / len(features.slopes)))
    return 1.0


def _learnt(
    surrogate: Surrogate,
    batch: Sequence[Atoms],
    force_projections: int | None,
    keys: PropertyKeys | None,
) -> np.ndarray | None:
    """``(D, r)`` the white directions A V / sqrt(1 - h) of `outlooks`.

    None where these rows, of other projections or weights than the fit's, hold more than it knows.
    """
    features = list(training_features(batch, surrogate.descriptor, force_projections))
    growth = surrogate.noise_growth(batch, np.array([own.total for own in features]))
    rows = []
    for atoms, own, factor in zip(batch, features, growth.tolist(), strict=True):
        if keys is None:
            scales = dict.fromkeys(usable_properties(atoms, surrogate.properties), 1.0 / factor)
        else:
            labels = fitted_targets(atoms, keys, surrogate.e0s)
            scales = surrogate.row_scales(atoms, labels)
        whole = whole_atoms(atoms)
        rows += [
            s * weighted_rows(own, surrogate.noise, [prop], whole) for prop, s in scales.items()
        ]
    white = surrogate.posterior.whiten(np.concatenate(rows))
    if white.shape[1] > white.shape[0]:
        white = np.asarray(np.linalg.qr(white.T, mode="r")).T
    shares, vectors = np.linalg.eigh(white.T @ white)
    if shares.max() > 1.0 + TOLERANCE:
        return None
    return white @ vectors / np.sqrt(1.0 - np.minimum(shares, MOST_REMOVED))
