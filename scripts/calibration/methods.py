"""Ways to say how wrong a prediction may be: each gives deviations, and scales where it has any.

All take the same fit, and what is calibrated is calibrated on the training set left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from ase_bayesel.surrogate.scales import HeldOut, Scale

from .fit import (
    NO_SCALES,
    PROPERTIES,
    Deviations,
    Fit,
    Frames,
    Result,
    scales_of,
)
from .methods_more import COMPONENTS, by_element, by_environment, committee, pops
from .methods_network import FORMS_OF_NETWORK

GROUPS = 8
LEFT_OUT_BY_DISTANCE = 12


def raw(fit: Fit) -> Result:
    """The posterior as it is."""
    return fit.tested, NO_SCALES


def with_noise(fit: Fit) -> Result:
    """The posterior and the fitted noise of labels."""
    noise, result = fit.surrogate.noise, {}
    for kind, rows in fit.tested.items():
        roots = np.sqrt([len(atoms) for atoms in fit.kinds[kind]])
        added = {"energy": noise.energy * roots, "forces": noise.forces}
        result[kind] = {
            prop: HeldOut(own.errors, np.hypot(own.deviations, added[prop]), own.structures)
            for prop, own in rows.items()
        }
    return result, NO_SCALES


def left_out(fit: Fit) -> Result:
    """One scale from structures left out one by one."""
    return fit.tested, scales_of(fit.alone)


def supported(fit: Fit) -> Result:
    """The same, and what is extrapolated: the default of the package."""
    scales = fit.calibrated.scales
    return fit.supported, {"energy": scales.energy, "forces": scales.forces}


def folds(fit: Fit) -> Result:
    """One scale from random groups of structures left out together."""
    order = np.random.default_rng(0).permutation(len(fit.train))
    groups = [part.tolist() for part in np.array_split(order, GROUPS)]
    return fit.tested, scales_of(fit.grouped(groups))


def clusters(fit: Fit) -> Result:
    """One scale from clusters of like structures left out together."""
    means = np.array([values.mean(axis=0) for values in fit.features(fit.train)])
    left, singular, _ = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    n = min(COMPONENTS, int(np.sum(singular > 1e-9 * singular[0])))
    _, labels = kmeans2(left[:, :n], GROUPS, seed=1, minit="++")
    groups = [np.flatnonzero(labels == k).tolist() for k in np.unique(labels)]
    return fit.tested, scales_of(fit.grouped(groups))


def constant(fit: Fit) -> Result:
    """Baseline: the same for all atoms, the root mean square error of what was left out."""

    def same(frames: Frames) -> Deviations:
        return {
            "energy": np.sqrt([len(atoms) for atoms in frames]),
            "forces": np.ones(3 * sum(map(len, frames))),
        }

    return _baseline(fit, same, same([fit.train[k] for k in fit.known]), range(len(fit.known)))


def distance(fit: Fit) -> Result:
    """Baseline: as the distance of an atom's features from the nearest ones in the training set."""
    known = fit.features(fit.train)
    spread = np.concatenate(known).std(axis=0)
    used = spread > 1e-9 * spread.max()
    known = [values[:, used] / spread[used] for values in known]
    whole = cKDTree(np.concatenate(known))

    def deviations(found: Sequence[np.ndarray]) -> Deviations:
        return {
            "energy": np.array([np.linalg.norm(own) for own in found]),
            "forces": np.repeat(np.concatenate(found), 3),
        }

    def from_all(frames: Frames) -> Deviations:
        values = fit.features(frames)
        return deviations([whole.query(own[:, used] / spread[used])[0] for own in values])

    places = range(0, len(fit.known), max(1, len(fit.known) // LEFT_OUT_BY_DISTANCE))
    chosen = [fit.known[place] for place in places]
    others = [cKDTree(np.concatenate([*known[:k], *known[k + 1 :]])) for k in chosen]
    found = [tree.query(known[k])[0] for k, tree in zip(chosen, others, strict=True)]
    return _baseline(fit, from_all, deviations(found), places)


METHODS: dict[str, Callable[[Fit], Result]] = {
    "raw": raw,
    "raw and noise": with_noise,
    "left out": left_out,
    "left out and support": supported,
    "folds": folds,
    "clusters": clusters,
    "by element": by_element,
    "by environment": by_environment,
    "committee": committee,
    "POPS": pops,
    "constant": constant,
    "distance": distance,
}
"""Of linear ACE."""
NETWORK_METHODS: dict[str, Callable[[Fit], Result]] = {
    "raw": raw,
    "left out": left_out,
    "left out and support": supported,
    **FORMS_OF_NETWORK,
    "constant": constant,
    "distance": distance,
}
"""Of networks: they need no other fit and no residuals of the surrogate's own mean."""


def _baseline(
    fit: Fit, deviations: Callable[[Frames], Deviations], known: Deviations, chosen: Sequence[int]
) -> Result:
    """Deviations times the factor that makes them as large as the errors of what was left out.

    ``known`` are the deviations of the training structures at the chosen places of `Fit.known`.
    """
    factors, scales = {}, {}
    for prop in PROPERTIES:
        own = fit.alone[prop]
        kept = np.isin(own.structures, chosen)
        factors[prop] = _rms(own.errors[kept] / known[prop])
        rows = HeldOut(own.errors[kept], factors[prop] * known[prop], own.structures[kept])
        scales[prop] = Scale.of(rows)

    def scaled(frames: Frames) -> Deviations:
        return {prop: factors[prop] * values for prop, values in deviations(frames).items()}

    return fit.with_deviations(scaled), scales


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
