"""Other forms of what a network's deviations are widened by: each of energies or forces alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from ase_bayesel.surrogate.scales import HeldOut
from ase_bayesel.surrogate.support import MOST_BEYOND
from ase_bayesel.surrogate.surrogate import Surrogate

from .fit import Fit, Result
from .supports import Outside

Factors = Callable[[Surrogate, Atoms, np.ndarray], np.ndarray]
"""``(n_atoms,)`` of a structure with its features ``(n_atoms, D)``."""


def larger_scale(fit: Fit) -> Result:
    """Forces by the larger scale of two, as triggers count, and no wider outside."""
    return _forces(fit, lambda surrogate, atoms, values: np.ones(len(atoms)), in_campaign=True)


def own_environment(fit: Fit) -> Result:
    """Forces by the environment of their atom alone, not by those near to it."""

    def factors(surrogate: Surrogate, atoms: Atoms, values: np.ndarray) -> np.ndarray:
        outside = Outside.of(surrogate, atoms, values)
        return np.clip(outside.distances / outside.reach, 1.0, MOST_BEYOND)

    return _forces(fit, factors)


def root(fit: Fit) -> Result:
    """Forces by the root of what they are by default."""
    return _forces(fit, lambda surrogate, atoms, values: surrogate.widening(atoms, values) ** 0.5)


def share(value: float) -> Callable[[Fit], Result]:
    """Energies by another share of what is extrapolated."""

    def of_fit(fit: Fit) -> Result:
        assert fit.calibrated.support is not None
        factor, tested = value / fit.calibrated.support.share, {}
        for kind, rows in fit.supported.items():
            own = rows["energy"]
            added = factor * own.added
            tested[kind] = {"energy": HeldOut(own.errors, own.deviations, own.structures, added)}
        return tested, {"energy": fit.calibrated.scales.energy}

    return of_fit


def _forces(fit: Fit, factors: Factors, in_campaign: bool = False) -> Result:
    surrogate, tested = fit.calibrated, {}
    for kind, frames in fit.kinds.items():
        found = zip(frames, fit.features(frames), strict=True)
        factor = np.concatenate([factors(surrogate, atoms, values) for atoms, values in found])
        own = fit.tested[kind]["forces"]
        deviations = np.repeat(factor, 3) * own.deviations
        tested[kind] = {"forces": HeldOut(own.errors, deviations, own.structures)}
    scales = surrogate.scales.in_campaign if in_campaign else surrogate.scales
    return tested, {"forces": scales.forces}


FORMS_OF_NETWORK: dict[str, Callable[[Fit], Result]] = {
    "larger scale": larger_scale,
    "own environment": own_environment,
    "root": root,
    "share 0.4": share(0.4),
    "share 0.6": share(0.6),
}
