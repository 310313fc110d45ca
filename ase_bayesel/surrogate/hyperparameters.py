"""Prior and noise of a fit, by evidence maximisation over its reduced rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..structures.labels import PROPERTIES
from .design import Noise
from .evidence import maximise_evidence
from .row_factors import DesignFactors
from .triangular import merge

NOISE_BOUNDS = {"energy": (1e-5, 1e2), "forces": (1e-4, 1e2), "virial": (1e-5, 1e2)}
FIRST_NOISE = {"energy": 0.01, "forces": 0.1, "virial": 0.05}


class Hyperparameters(NamedTuple):
    """What the evidence chose.

    Attributes
    ----------
    prior_std
        s, in the unit of the whitened coefficients.
    noise
        Of each property.
    at_bounds
        What of it lies at an end of its range, in words.
    """

    prior_std: float
    noise: Noise
    at_bounds: tuple[str, ...] = ()


def hyperparameters(
    factors: DesignFactors, relative: Mapping[str, float] | None
) -> Hyperparameters:
    """Those that maximise the evidence.

    Parameters
    ----------
    factors
        With labelled rows.
    relative
        By property, the weight by which a common noise is divided; None to fit each on its own.
    """
    triangles = {p: f.triangle for p, f in factors.labelled.items() if f.n_rows}
    counts = {p: f.n_rows for p, f in factors.labelled.items() if f.n_rows}
    if relative is None:
        best = maximise_evidence(triangles, counts, FIRST_NOISE, NOISE_BOUNDS)
        noise = Noise(**{**FIRST_NOISE, **best.noise})
        return Hyperparameters(best.prior_std, noise, best.at_bounds)
    together: np.ndarray | None = None
    for prop, triangle in triangles.items():
        weighted = triangle * relative[prop]
        together = weighted if together is None else merge(together, weighted)
    assert together is not None
    best = maximise_evidence(
        {"all": together},
        {"all": sum(counts.values())},
        {"all": FIRST_NOISE["forces"]},
        {"all": NOISE_BOUNDS["forces"]},
    )
    noise = Noise(**{prop: best.noise["all"] / relative[prop] for prop in PROPERTIES})
    return Hyperparameters(best.prior_std, noise, best.at_bounds)
