"""Thresholds from what is normal: on the training set left out in turn, or in unbiased MD."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ...bias.calculator import BiasedCalculator
from ...descriptors.base import as_frames
from ...errors import BayeselError, SingularPrecisionError
from ...structures.labels import WHOLE, PropertyKeys, whole_atoms
from ...structures.reference_energies import fitted_targets
from ...surrogate.design import training_features, weighted_rows
from ...surrogate.force_uncertainty import ForceSearch
from ...surrogate.steps import finished
from ...surrogate.surrogate import Surrogate
from .base import Trigger, TriggerReport
from .criteria import StressTrigger


def training_criteria(
    triggers: Sequence[Trigger],
    frames: Atoms | Sequence[Atoms],
    mlip: Calculator,
    surrogate: Surrogate,
    keys: PropertyKeys = PropertyKeys(),
    force_projections: int | None = None,
    force_search: ForceSearch | None = ForceSearch(),
) -> np.ndarray:
    """Values of criteria on training structures, each under the posterior without it.

    The covariance is the exact leave-one-out one at fixed hyperparameters
    (`Posterior.without`); forces come from ``mlip`` as it is.

    Parameters
    ----------
    triggers
        Single triggers; their thresholds do not matter.
    frames
        All structures that the surrogate was fitted to, in their order.
    mlip, force_search
        As for `BiasedCalculator`.
    surrogate, keys, force_projections
        The fitted surrogate, and what it was fitted with.

    Returns
    -------
    ``(n_frames, n_triggers)``; NaN for a single atom, for a cut-out, whose junction is no example
    of anything, and for a stress without three periodic directions.

    Raises
    ------
    SingularPrecisionError
        If nothing but one structure tells of some direction, naming the structure.
    """
    frames = as_frames(frames)
    steps = leave_one_out(triggers, frames, mlip, surrogate, keys, force_projections, force_search)
    return finished(steps)


def leave_one_out(
    triggers: Sequence[Trigger],
    frames: Sequence[Atoms],
    mlip: Calculator,
    surrogate: Surrogate,
    keys: PropertyKeys,
    force_projections: int | None = None,
    force_search: ForceSearch | None = ForceSearch(),
) -> Generator[int, None, np.ndarray]:
    """`training_criteria` step by step: yields how many structures are done.

    Parameters
    ----------
    triggers, frames, mlip, surrogate, keys, force_projections, force_search
        As of `training_criteria`.
    """
    values = np.full((len(frames), len(triggers)), np.nan)
    calculator = BiasedCalculator(mlip, surrogate, tau=0.0, force_search=force_search)
    left_out = _left_out(frames, surrogate, keys, force_projections)
    for k, (atoms, without) in enumerate(zip(frames, left_out, strict=True)):
        calculator.set_surrogate(without)
        if len(atoms) > 1 and WHOLE not in atoms.arrays:
            calculator.get_forces(atoms)
            for j, trigger in enumerate(triggers):
                if atoms.pbc.all() or not isinstance(trigger, StressTrigger):
                    values[k, j] = trigger(calculator.prediction, atoms).value
        yield k + 1
    return values


def _left_out(
    frames: Sequence[Atoms], surrogate: Surrogate, keys: PropertyKeys, projections: int | None
) -> Iterator[Surrogate]:
    """The surrogate without each structure in turn."""
    stream = training_features(frames, surrogate.descriptor, projections)
    for k, (atoms, features) in enumerate(zip(frames, stream, strict=True)):
        labels = fitted_targets(atoms, keys, surrogate.e0s, f"training frame {k}")
        scales = surrogate.row_scales(atoms, labels, f"training frame {k}")
        if not scales:
            yield surrogate
            continue
        rows = np.concatenate(
            [
                scale * weighted_rows(features, surrogate.noise, [prop], whole_atoms(atoms))
                for prop, scale in scales.items()
            ]
        )
        try:
            yield replace(surrogate, posterior=surrogate.posterior.without(rows))
        except SingularPrecisionError as error:
            raise SingularPrecisionError(f"training frame {k}: {error}") from error


class Reported(Protocol):
    """A step of a walker, of which only the reports matter."""

    @property
    def reports(self) -> tuple[TriggerReport, ...]:
        """What the triggers saw; empty where they were not evaluated."""
        ...


def reported_criteria(steps: Iterable[Reported]) -> np.ndarray:
    """``(n_checks, n_triggers)`` values of the criteria along a trajectory.

    For steps of `run_walker` without bias, with single triggers whose thresholds are 0: they
    are then evaluated at every check.
    """
    return np.array([[r.value for r in step.reports] for step in steps if step.reports])


def quantile_threshold(
    values: np.ndarray, quantile: float = 0.99, factor: float = 1.0, name: str = "trigger"
) -> float:
    """``factor`` times a quantile of the values that are not NaN; linear between two of them.

    Parameters
    ----------
    values
        Of one criterion, in its unit.
    quantile
        Between 0 and 1.
    factor
        No unit.
    name
        Of the criterion, for the error.

    Raises
    ------
    BayeselError
        If there are none, or what comes out is not a positive finite number.
    """
    known = values[~np.isnan(values)]
    threshold = factor * float(np.quantile(known, quantile)) if len(known) else np.nan
    if not 0 < threshold < np.inf:
        raise BayeselError(
            f"{name}: no threshold from {len(known)} values: {factor} times their {quantile} "
            f"quantile is {threshold}"
        )
    return threshold
