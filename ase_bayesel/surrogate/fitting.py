"""Fitting a surrogate to labelled structures, its hyperparameters by evidence."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from ase import Atoms, units

from ..descriptors.base import Descriptor, as_frames
from ..descriptors.states import check_states
from ..errors import SingularPrecisionError, StructureError
from ..io.fields import PositiveFloat
from ..structures.checks import check_structure
from ..structures.labels import PROPERTIES, PropertyKeys
from ..structures.reference_energies import (
    composition_energy,
    fitted_targets,
    reference_energies,
)
from .design import DesignFactors, Noise, assembling
from .energy_weights import EnergyWeights
from .evidence import maximise_evidence, stacked_triangle
from .posterior import Posterior
from .steps import OnProgress, finished
from .surrogate import Surrogate
from .triangular import append_rows, merge

NOISE_BOUNDS = {"energy": (1e-5, 1e2), "forces": (1e-4, 1e2), "virial": (1e-5, 1e2)}
MOST_RAISED = 8
"""So often the noise is doubled at most where the precision is singular."""
FIRST_NOISE = {"energy": 0.01, "forces": 0.1, "virial": 0.05}


@dataclass(frozen=True)
class Weights:
    """Relative weights of energy / sqrt(N), force and virial / sqrt(N) residuals.

    The default is ACEpotentials'. The noise of a property is a common scale
    divided by its weight; the scale comes from the evidence.

    ``high_energy`` (eV/atom) makes the noise of whole structures grow with their energy, see
    `EnergyWeights`; None for no growth. In a campaign's config it may be ``"auto"``, which is
    the default there: see `at`.
    """

    energy: PositiveFloat = 30.0
    forces: PositiveFloat = 1.0
    virial: PositiveFloat = 30.0
    high_energy: PositiveFloat | Literal["auto"] | None = None

    def at(self, temperature_K: float) -> Weights:
        """The weights for a highest temperature (K): ``"auto"`` is 1.5 k_B T per atom.

        That is how much higher than its minimum the potential energy of a harmonic solid lies.
        """
        if self.high_energy != "auto":
            return self
        return replace(self, high_energy=thermal_scale(temperature_K))


def thermal_scale(temperature_K: float) -> float:
    """1.5 k_B T, eV."""
    return 1.5 * units.kB * temperature_K


def fit_surrogate(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    virial_key: str | None = None,
    e0s: Mapping[str, float] | str = "isolated",
    weights: Weights | None = Weights(),
    on_progress: OnProgress | None = None,
    force_projections: int | None = None,
) -> Surrogate:
    """Fit a surrogate to labelled structures, its hyperparameters by evidence maximisation.

    The columns are scaled by the descriptor's ``prior_std`` (for ACE the
    smoothness prior), in which the prior is isotropic with variance s^2. With
    ``weights`` the noises keep these ratios and one scale is fitted with s;
    with ``weights=None`` the noise of each property is fitted on its own, which
    maximises the evidence but trades energy accuracy for forces where the basis
    cannot fit everything.

    Parameters
    ----------
    frames
        Training structures. One without any label still enters the covariance.
    descriptor
        Features of D columns.
    energy_key, forces_key, virial_key
        Where labels are found (see `structures.PropertyKeys`); None leaves a
        property out. They also decide which rows `Surrogate.condition` adds.
    e0s
        Reference energies, ``"isolated"`` or ``"average"`` (see
        `structures.reference_energies`).
    weights
        Relative weights, or None.
    on_progress
        Called with (structures done, structures in all).
    force_projections
        Use this many random combinations of each structure's force rows (see `Sketch`)
        where the descriptor can project them and that is cheaper: for a network of
        many features and structures of many atoms. The least-squares problem is the
        exact one in expectation. None for exact rows.

    Raises
    ------
    StructureError
        For a structure that cannot be used, naming its number, or where no
        structure carries a label under the keys.
    SingularPrecisionError
        If the precision is numerically singular.
    """
    keys = PropertyKeys(energy_key, forces_key, virial_key)
    frames = as_frames(frames)
    steps = fitting(frames, descriptor, keys, e0s, weights, force_projections)
    return finished(steps, len(frames), on_progress)


def fitting(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str = "isolated",
    weights: Weights | None = Weights(),
    force_projections: int | None = None,
) -> Generator[int, None, Surrogate]:
    """`fit_surrogate` step by step: yields how many structures are done.

    Parameters
    ----------
    frames, descriptor, e0s, weights, force_projections
        As in `fit_surrogate`.
    keys
        Where the labels are.

    Raises
    ------
    StructureError, SingularPrecisionError
        As `fit_surrogate`.
    """
    energies = baseline_energies(frames, keys, e0s)
    check_states(frames, descriptor)
    scale = descriptor.prior_std()
    growth = energy_weights_of(frames, keys, energies, weights)
    factors = yield from assembling(
        frames, descriptor, keys, energies, scale, force_projections, energy_weights=growth
    )
    return surrogate_from_factors(factors, descriptor, keys, energies, weights, growth)


def energy_weights_of(
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    weights: Weights | None,
    temperature_K: float | None = None,
    n_features: int = 0,
) -> EnergyWeights | None:
    """The weights by energy of a training set; None where there are to be none.

    Parameters
    ----------
    frames, keys
        The labelled structures, and where their energies are found.
    e0s
        Reference energies, eV, by element.
    weights
        Whose ``high_energy`` counts.
    temperature_K
        Of the hottest use, for ``"auto"``: the scale of `Weights.at`, but at least the median rise
        of the structures, so that no fit rests on the few lowest of a set that lies higher.
    n_features
        For ``"auto"``: none where the weights would leave less than twice so many rows in effect,
        which a fit could follow without any noise.
    """
    scale = None if weights is None else weights.high_energy
    if scale is None:
        return None
    if scale == "auto" and temperature_K is None:
        raise ValueError("weights.high_energy: auto needs a temperature; see Weights.at")
    known = []
    for number, atoms in enumerate(frames):
        energy = fitted_targets(atoms, keys, e0s, f"training frame {number}").energy
        if energy is not None:
            known.append((atoms, energy - composition_energy(atoms, e0s)))
    if scale != "auto":
        return EnergyWeights(scale).extended(known)
    assert temperature_K is not None
    found = EnergyWeights(thermal_scale(temperature_K)).extended(known)
    if known:
        rises = [found.rise(atoms, energy) for atoms, energy in known]
        found = replace(found, scale=max(found.scale, float(np.median(rises))))
    rows = [(1 + 3 * len(a)) / found.factor(a, energy) ** 2 for a, energy in known]
    return found if sum(rows) >= 2 * n_features else None


def baseline_energies(
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str,
    apart: bool = True,
) -> dict[str, float]:
    """What a fit takes off the energies, by element, eV; all structures are checked first.

    Parameters
    ----------
    frames, keys, e0s
        As in `fitting`.
    apart
        That of `check_structure`.

    Raises
    ------
    StructureError
        For a structure that cannot be used, naming its number.
    """
    for number, atoms in enumerate(frames):
        check_structure(atoms, f"training frame {number}", apart)
    return reference_energies(frames, e0s, keys.energy)


def surrogate_from_factors(
    factors: DesignFactors,
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    weights: Weights | None = Weights(),
    energy_weights: EnergyWeights | None = None,
) -> Surrogate:
    """The last step of `fit_surrogate`, for a design matrix that is reduced already.

    Parameters
    ----------
    factors
        The reduced matrix; its columns carry the descriptor's ``prior_std``.
    descriptor
        What its columns are.
    keys
        Where the labels were found; they tell which properties a label holds.
    e0s
        What was taken off the energies, by element, eV.
    weights
        As in `fit_surrogate`.
    energy_weights
        Those with which the rows were weighted.

    Raises
    ------
    StructureError, SingularPrecisionError
        As `fit_surrogate`.
    """
    if not any(f.n_rows for f in factors.labelled.values()):
        raise StructureError(
            f"no training frame has a label under the keys {keys.energy!r}, {keys.forces!r}, "
            f"{keys.virial!r}; check the key names"
        )
    prior_std, noise = _hyperparameters(factors, weights)
    noise, posterior = _regular(factors, noise, prior_std, descriptor.prior_std())
    return Surrogate(
        descriptor,
        posterior,
        e0s,
        noise,
        tuple(p for p in PROPERTIES if getattr(keys, p) is not None),
        energy_weights,
    )


def with_prior(surrogate: Surrogate, factors: DesignFactors, prior: Posterior) -> Surrogate:
    """The surrogate of a fit, its covariance with another prior; mean and noise stay.

    Sigma^-1 = Phi^T Lambda Phi + R^T R with R of ``prior``, in place of the independent
    coefficients of the fit: what is known of other data is the posterior that they gave, which
    has a prior of its own, and two priors would count twice where there are no data.

    Parameters
    ----------
    surrogate
        Made from ``factors`` by `surrogate_from_factors`.
    factors
        All rows Phi of the fit.
    prior
        Of the same descriptor; none of the fit's structures is behind it.
    """
    factor, scale = prior.precision_factor, surrogate.descriptor.prior_std()
    for kind in (factors.labelled, factors.unlabelled):
        for prop, rows in kind.items():
            if rows.n_rows:
                noise = getattr(surrogate.noise, prop)
                factor = append_rows(factor, rows.triangle[:-1, :-1] / noise / scale)
    return replace(surrogate, posterior=Posterior(factor, surrogate.posterior.mean))


def _hyperparameters(factors: DesignFactors, weights: Weights | None) -> tuple[float, Noise]:
    triangles = {p: f.triangle for p, f in factors.labelled.items() if f.n_rows}
    counts = {p: f.n_rows for p, f in factors.labelled.items() if f.n_rows}
    if weights is None:
        best = maximise_evidence(triangles, counts, FIRST_NOISE, NOISE_BOUNDS)
        return best.prior_std, Noise(**{**FIRST_NOISE, **best.noise})
    relative = {p: float(getattr(weights, p)) for p in PROPERTIES}
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
    noise = {prop: best.noise["all"] / relative[prop] for prop in PROPERTIES}
    return best.prior_std, Noise(**noise)


def _regular(
    factors: DesignFactors, noise: Noise, prior_std: float, scale: np.ndarray
) -> tuple[Noise, Posterior]:
    """The posterior, with the noise raised where it is too small for double precision.

    Few structures may be fitted exactly: the evidence then knows no lower limit of the noise.
    """
    for _ in range(MOST_RAISED):
        with suppress(SingularPrecisionError):
            return noise, _posterior(factors, noise, prior_std, scale)
        noise = Noise(**{prop: 2.0 * std for prop, std in vars(noise).items()})
    return noise, _posterior(factors, noise, prior_std, scale)


def _posterior(
    factors: DesignFactors, noise: Noise, prior_std: float, scale: np.ndarray
) -> Posterior:
    """Posterior of the unscaled coefficients c = scale * theta."""
    triangles = {p: f.triangle for p, f in factors.labelled.items() if f.n_rows}
    fitted = Posterior.from_triangle(stacked_triangle(triangles, vars(noise), prior_std))
    factor = fitted.precision_factor
    for prop, rows in factors.unlabelled.items():
        if rows.n_rows:
            factor = merge(factor, rows.triangle[:-1, :-1] / getattr(noise, prop))
    return Posterior(factor / scale, fitted.mean * scale)
