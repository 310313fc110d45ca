"""Structures that a fit has not seen: new ones with labels, and training structures left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.linalg import LinAlgError, LinAlgWarning, solve

from ..descriptors.base import Features, Sketch
from ..errors import ResultError
from ..structures.labels import PropertyKeys, of_whole_atoms, whole_atoms
from ..structures.mlip import mlip_results
from ..structures.reference_energies import fitted_targets
from .design import (
    iterate_features,
    property_rows,
    property_targets,
    usable_properties,
    weighted_rows,
)
from .scales import HeldOut
from .surrogate import Surrogate
from .training_rows import TrainingRows

MOST = 100
"""So many structures are left out in turn, evenly spread over the training set."""
NOTHING_TO_LEARN = 1e-9
"""Variance over that of the noise, in the mean over forces that vanish by symmetry."""

Rows = dict[str, HeldOut]
"""By property."""
Chosen = Callable[[Sequence[int]], Iterator[Features | Sketch]]
"""Features of some structures of a training set by their numbers, as `TrainingRows.chosen`."""


def held_out(
    surrogate: Surrogate,
    frames: Sequence[Atoms],
    keys: PropertyKeys,
    potential: Calculator | None = None,
) -> Rows:
    """Errors and deviations on labelled structures that the surrogate was not fitted to.

    Parameters
    ----------
    surrogate
        Gives the deviations.
    frames
        With labels under ``keys``; properties without a label are left out.
    keys
        Where the labels are.
    potential
        Predicts, where that is not the surrogate's mean.

    Raises
    ------
    StructureError
        For a label that is not of its shape, naming the structure.
    ResultError
        Where the potential fails.
    """
    parts: dict[str, list[HeldOut]] = {}
    for k, features in enumerate(iterate_features(frames, surrogate.descriptor)):
        atoms = frames[k]
        labels = fitted_targets(atoms, keys, surrogate.e0s, f"frame {k}")
        baseline = surrogate.baseline(atoms)
        for prop in usable_properties(atoms, surrogate.properties):
            observed = property_targets(labels, prop, baseline)
            if observed is None:
                continue
            rows = property_rows(features, prop, whole_atoms(atoms))
            if potential is None:
                value = rows @ surrogate.posterior.mean
            else:
                value = _predicted(potential, atoms, prop, baseline)
            deviations = np.sqrt(surrogate.posterior.variance(rows))
            if prop == "forces":
                widening = of_whole_atoms(atoms, surrogate.widening(atoms, features.values))
                deviations = np.repeat(widening, 3) * deviations
            own = HeldOut(value - observed, deviations, np.zeros(len(rows), dtype=int))
            if prop == "energy":
                outside = surrogate.extrapolated(atoms, features.values).sum()
                own = replace(own, added=np.array([abs(outside)]))
            parts.setdefault(prop, []).append(own)
    return {prop: HeldOut.joined(own) for prop, own in parts.items()}


def leaving_out(
    frames: Sequence[Atoms],
    surrogate: Surrogate,
    keys: PropertyKeys,
    force_projections: int | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    potential: Calculator | None = None,
    chosen: Chosen | None = None,
) -> Generator[int, None, Rows]:
    """Training structures as the others predict them; yields how many structures are done.

    For a group with rows A (weighted), residuals r of the fit and H = A Sigma A^T, the others
    predict it with the residuals (I - H)^-1 r and the variances of (I - H)^-1 H, in units of the
    noise: what a fit without it would give, in closed form (Rasmussen and Williams 2006, section
    5.4.2, for groups of rows).

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
    groups
        Numbers of structures that are left out together: of one trajectory, or of one kind. By
        default each alone, of a large set `MOST`.
    potential
        Predicts in place of the mean of what is left; it knows none of the structures, so that its
        errors are what they are. The deviations are the same. A structure on which it fails says
        nothing.
    chosen
        Gives the features of the fit; they are computed anew without it.
    """
    step = 1
    if groups is None:
        step = max(1, -(-len(frames) // MOST))
        groups = [[k] for k in range(0, len(frames), step)]
    numbers = [k for group in groups for k in group]
    if chosen is None:
        chosen = TrainingRows(frames, surrogate.descriptor, force_projections).chosen
    features = iter(chosen(numbers))
    parts: dict[str, list[HeldOut]] = {}
    done = 0
    for group in groups:
        rows = []
        for k in group:
            of_structure = next(features)
            with suppress(ResultError):
                rows.append(_Rows.of(frames[k], of_structure, surrogate, keys, potential))
        for prop, found in _without(rows, surrogate, potential is None).items():
            parts.setdefault(prop, []).append(found)
        done += len(group) * step
        yield min(done, len(frames))
    return {prop: HeldOut.joined(found) for prop, found in parts.items()}


def given_labels(surrogate: Surrogate, atoms: Atoms, keys: PropertyKeys) -> Surrogate:
    """The surrogate after the labels of one more structure: its mean moves too.

    Hyperparameters and scales stay those of the fit.
    """
    own = _Rows.of(atoms, surrogate.features(atoms), surrogate, keys)
    if not own.rows:
        return surrogate
    rows = np.concatenate([*own.rows.values()])
    observed = rows @ surrogate.posterior.mean - np.concatenate([*own.residuals.values()])
    return replace(surrogate, posterior=surrogate.posterior.condition(rows, observed))


def _predicted(potential: Calculator, atoms: Atoms, prop: str, baseline: float) -> np.ndarray:
    """What a potential says, as `property_rows` order it; ``baseline`` is taken off the energy."""
    found = mlip_results(potential, atoms, prop == "virial")
    if prop == "energy":
        return np.array([found.energy - baseline])
    if prop == "forces":
        return of_whole_atoms(atoms, found.forces).ravel()
    assert found.stress is not None
    return -atoms.get_volume() * found.stress


@dataclass(frozen=True)
class _Rows:
    """Weighted rows of a training structure, residuals of the fit, and their units; by property."""

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    residuals: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        features: Features | Sketch,
        surrogate: Surrogate,
        keys: PropertyKeys,
        potential: Calculator | None = None,
    ) -> _Rows:
        """Of a structure; empty where a property that it brings has no label."""
        result = cls()
        labels, baseline = fitted_targets(atoms, keys, surrogate.e0s), surrogate.baseline(atoms)
        for prop, scale in surrogate.row_scales(atoms, labels).items():
            observed = property_targets(labels, prop, baseline)
            if observed is None:
                return cls()
            if potential is not None:
                observed = observed - _predicted(potential, atoms, prop, baseline)
            if prop == "forces" and isinstance(features, Sketch):
                observed = features.project(observed.reshape(-1, 3))
            rows = scale * weighted_rows(features, surrogate.noise, [prop], whole_atoms(atoms))
            unit = surrogate.noise.std(prop, len(atoms)) / scale
            result.rows[prop] = rows
            mean = 0.0 if potential is not None else rows @ surrogate.posterior.mean
            result.residuals[prop] = mean - observed / unit
            result.units[prop] = unit
        return result


def _without(group: Sequence[_Rows], surrogate: Surrogate, refitted: bool) -> Mapping[str, HeldOut]:
    """A group as the rest of the training set predicts it, by property.

    Residuals are those of a fit without the group where it is ``refitted``, else as they are.
    """
    blocks = [(k, prop) for k, member in enumerate(group) for prop in member.rows]
    if not blocks:
        return {}
    white = surrogate.posterior.whiten(np.concatenate([group[k].rows[prop] for k, prop in blocks]))
    known = white.T @ white
    residuals = np.concatenate([group[k].residuals[prop] for k, prop in blocks])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LinAlgWarning)
            left_out = solve(np.eye(len(known)) - known, np.column_stack([residuals, known]))
    except (LinAlgError, LinAlgWarning):  # nothing else knows of it, to rounding
        return {}
    variances = np.maximum(np.diag(left_out[:, 1:]), 0.0)
    parts: dict[str, list[HeldOut]] = {}
    start = 0
    for k, prop in blocks:
        end, unit = start + len(group[k].rows[prop]), group[k].units[prop]
        errors = left_out[start:end, 0] if refitted else residuals[start:end]
        own = variances[start:end]
        start = end
        if own.mean() > NOTHING_TO_LEARN:
            structures = np.zeros(len(own), dtype=int)
            rows = HeldOut(errors * unit, np.sqrt(own) * unit, structures)
            parts.setdefault(prop, []).append(rows)
    return {prop: HeldOut.joined(own) for prop, own in parts.items()}
