"""When to pick a structure, and when to stop a trajectory that went wrong.

A trigger looks at the unbiased prediction and its uncertainty; a guard looks at
the atoms. Neither changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from .prediction import Prediction
from .structures import neighbour_pairs

MARGIN = 1.5
MEMORY = 3
"""See `LazyCheck`."""


@dataclass(frozen=True)
class TriggerReport:
    """What a trigger saw: its criterion's ``value`` against the ``threshold``.

    ``atom_index`` is the atom that gave the value, None for a global criterion. A force
    criterion that came from a `ForceSearch` is exact for this atom; another may be larger.
    A value that is NaN counts as fired, and ends a walker (see `run_walker`).
    """

    name: str
    value: float
    threshold: float
    fired: bool
    atom_index: int | None = None


class Trigger(Protocol):
    """A criterion on one evaluation."""

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport: ...


@dataclass(frozen=True)
class RelativeForceTrigger:
    """Fires when max_i sigma_F,i / (|F_i| + eps) exceeds ``threshold`` (no unit).

    F are the unbiased forces; ``eps`` (eV/A) keeps small forces from dominating.
    """

    threshold: float
    eps: float = 0.2

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return _leading("relative_force", self.threshold, prediction, self.scales(prediction))

    def scales(self, prediction: Prediction) -> np.ndarray:
        """What each atom's sigma_F,i is divided by, ``(n_atoms,)``."""
        return np.linalg.norm(prediction.forces, axis=1) + self.eps


@dataclass(frozen=True)
class ForceTrigger:
    """Fires when the largest sigma_F,i exceeds ``threshold`` (eV/A)."""

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return _leading("force", self.threshold, prediction, self.scales(prediction))

    def scales(self, prediction: Prediction) -> np.ndarray:
        """Ones, ``(n_atoms,)``."""
        return np.ones(len(prediction.biased_forces))


@dataclass(frozen=True)
class EnergyTrigger:
    """Fires when sigma_E / n_atoms exceeds ``threshold`` (eV/atom)."""

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        value = prediction.energy_std / len(atoms)
        return TriggerReport("energy_per_atom", value, self.threshold, not value <= self.threshold)


def _leading(
    name: str, threshold: float, prediction: Prediction, scales: np.ndarray
) -> TriggerReport:
    atom, force_std = prediction.leading_force(scales)
    value = force_std / float(scales[atom])
    return TriggerReport(name, value, threshold, not value <= threshold, atom)


@dataclass(frozen=True)
class LazyCheck:
    """A trigger that is evaluated only where it may fire, judged by what costs little.

    |grad_i sigma_E| is one component of the force deviation of an atom, and comes with
    the separate bias force. It gives an indicator of the criterion; the last evaluations
    tell by which factor the criterion exceeds its indicator. Where `MARGIN` times the
    largest of these factors leaves the criterion below the threshold, the trigger
    is not evaluated. The first check, exact predictions, triggers without ``scales`` and
    indicators that are not finite always are.

    Attributes
    ----------
    trigger
        What is checked.
    lazy
        False to evaluate it every time.
    ratios
        Criterion over indicator in the last `MEMORY` evaluations.
    """

    trigger: Trigger
    lazy: bool = True
    ratios: tuple[float, ...] = ()

    def __call__(
        self, prediction: Prediction, atoms: Atoms
    ) -> tuple[TriggerReport | None, LazyCheck]:
        """The trigger's report, None where it was not evaluated, and the next check."""
        scales = getattr(self.trigger, "scales", None)
        if not self.lazy or scales is None or not prediction.searched:
            return self.trigger(prediction, atoms), self
        indicator = _indicator(prediction.force_std_bound, scales(prediction))
        if self.ratios and MARGIN * max(self.ratios) * indicator < self.trigger.threshold:
            return None, self
        report = self.trigger(prediction, atoms)
        if not (report.value > 0 and 0 < indicator < np.inf):
            return report, self
        ratios = (*self.ratios, report.value / indicator)[-MEMORY:]
        return report, replace(self, ratios=ratios)

    def forgotten(self) -> LazyCheck:
        """A check that has learnt nothing yet, for a new surrogate."""
        return replace(self, ratios=())


def _indicator(bound: np.ndarray, scales: np.ndarray) -> float:
    """Largest |grad_i sigma_E| / scale, with twice the mean square of all atoms added in.

    One component of an atom's deviation may vanish by chance where the others do not.
    """
    return float(np.max(np.sqrt(bound**2 + 2.0 * np.mean(bound**2)) / scales))


@dataclass(frozen=True)
class Guards:
    """Limits beyond which a trajectory is not sane; None switches a limit off.

    Attributes
    ----------
    close_contact
        Shortest allowed distance in units of the sum of covalent radii.
    max_force
        Largest allowed biased force on an atom, eV/A, and unbiased force where
        the calculator has evaluated it (see `Prediction.separated`).
    max_temperature_K
        Largest allowed instantaneous temperature.
    """

    close_contact: float | None = 0.5
    max_force: float | None = 100.0
    max_temperature_K: float | None = 10000.0

    def violated(self, atoms: Atoms, prediction: Prediction | None = None) -> str | None:
        """Name of the first limit that is broken (``"nan"``, ``"close_contact"``, ``"force"``,
        ``"temperature"``), or None.

        A value that is not finite always counts as broken.
        """
        arrays = [atoms.positions, atoms.get_momenta(), atoms.cell.array]
        if prediction is not None:
            arrays += [np.array([prediction.energy, prediction.energy_std])]
            arrays += _known_forces(prediction)
        if not all(np.isfinite(array).all() for array in arrays):
            return "nan"
        if self.close_contact is not None and _closest(atoms) < self.close_contact:
            return "close_contact"
        if self.max_force is not None and prediction is not None:
            for forces in _known_forces(prediction):
                if np.linalg.norm(forces, axis=1).max() > self.max_force:
                    return "force"
        if self.max_temperature_K is not None and atoms.get_temperature() > self.max_temperature_K:
            return "temperature"
        return None


def _known_forces(prediction: Prediction) -> list[np.ndarray]:
    """Biased forces, and unbiased ones that need no further evaluation."""
    unbiased = [prediction.forces] if prediction.separated else []
    return [*unbiased, prediction.biased_forces]


def _closest(atoms: Atoms) -> float:
    """Smallest distance over the sum of covalent radii; infinite where no atoms are near."""
    radii = covalent_radii[atoms.numbers]
    cutoff = 2.0 * float(radii.max())
    i, j, vectors = neighbour_pairs(atoms, cutoff)
    lengths = np.linalg.norm(vectors, axis=1)
    return float(np.min(lengths / (radii[i] + radii[j]), initial=np.inf))
