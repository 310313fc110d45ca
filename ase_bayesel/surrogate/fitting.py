"""Fitting a surrogate to labelled structures, its hyperparameters by evidence."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms, units

from ..descriptors.base import Descriptor, as_frames
from ..descriptors.states import check_states
from ..errors import SingularPrecisionError, StructureError
from ..io.magnitudes import Positive, PositiveOrAuto
from ..structures.checks import check_structure
from ..structures.labels import PROPERTIES, PropertyKeys
from ..structures.reference_energies import (
    composition_energy,
    fitted_targets,
    reference_energies,
)
from .assembly import assembling
from .design import Noise
from .energy_weights import EnergyWeights
from .evidence import stacked_triangle
from .hyperparameters import Hyperparameters, hyperparameters
from .posterior import Posterior
from .row_factors import DesignFactors
from .row_store import RowStore
from .steps import OnProgress, finished
from .surrogate import Surrogate
from .triangular import merge

MOST_RAISED = 8
"""So often the noise is doubled at most where the precision is singular."""


@dataclass(frozen=True)
class Weights:
    """Relative weights of energy / sqrt(N), force and virial / sqrt(N) residuals.

    The default is the paper's. With a virial weight of 1, ACEpotentials' default, force errors are
    down to a third of those with 30 (`scripts/virial_weights.py`). The noise of a property is a
    common scale divided by its weight; the scale comes from the evidence.

    ``high_energy`` (eV/atom) makes the noise of whole structures grow with their energy, see
    `EnergyWeights`; None for no growth. In a campaign's config it may be ``"auto"``, which is
    the default there: see `at`.
    """

    energy: Positive = 30.0
    forces: Positive = 1.0
    virial: Positive = 30.0
    high_energy: PositiveOrAuto | None = None

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
    store: RowStore | None = None,
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
    store
        Keeps rows from one fit to the next. Pass the same one again for a training set that
        has grown at its end, and only what is new is computed; the result has the same bits.

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
    steps = fitting(frames, descriptor, keys, e0s, weights, force_projections, store)
    return finished(steps, len(frames), on_progress)


def fitting(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float] | str = "isolated",
    weights: Weights | None = Weights(),
    force_projections: int | None = None,
    store: RowStore | None = None,
) -> Generator[int, None, Surrogate]:
    """`fit_surrogate` step by step: yields how many structures are done.

    Parameters
    ----------
    frames, descriptor, e0s, weights, force_projections, store
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
        *(frames, descriptor, keys, energies, scale, force_projections),
        energy_weights=growth,
        store=store,
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
    found = hyperparameters_of(factors, keys, weights)
    return surrogate_at(found, factors, descriptor, keys, e0s, energy_weights)


def hyperparameters_of(
    factors: DesignFactors, keys: PropertyKeys, weights: Weights | None
) -> Hyperparameters:
    """Prior and noise by evidence, at the relative weights; StructureError without labels.

    Parameters
    ----------
    factors, keys, weights
        As in `surrogate_from_factors`.
    """
    if not any(f.n_rows for f in factors.labelled.values()):
        raise StructureError(
            f"no training frame has a label under the keys {keys}; check the key names"
        )
    relative = None if weights is None else {p: float(getattr(weights, p)) for p in PROPERTIES}
    return hyperparameters(factors, relative)


def surrogate_at(
    found: Hyperparameters,
    factors: DesignFactors,
    descriptor: Descriptor,
    keys: PropertyKeys,
    e0s: Mapping[str, float],
    energy_weights: EnergyWeights | None = None,
) -> Surrogate:
    """`surrogate_from_factors` at hyperparameters that are known.

    Parameters
    ----------
    found
        Prior and noise.
    factors, descriptor, keys, e0s, energy_weights
        As in `surrogate_from_factors`.
    """
    noise, posterior = _regular(factors, found.noise, found.prior_std, descriptor.prior_std())
    return Surrogate(
        descriptor,
        posterior,
        e0s,
        noise,
        tuple(p for p in PROPERTIES if getattr(keys, p) is not None),
        energy_weights,
    )


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
