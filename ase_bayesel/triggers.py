"""When to pick a structure, and when to stop a trajectory that went wrong.

A trigger looks at the unbiased prediction and its uncertainty; a guard looks at
the atoms. Neither changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from .prediction import Prediction
from .structures import neighbour_pairs


@dataclass(frozen=True)
class TriggerReport:
    """What a trigger saw: its criterion's ``value`` against the ``threshold``.

    ``atom_index`` is the atom that gave the value, None for a global criterion.
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
        ratio = prediction.force_std / (np.linalg.norm(prediction.forces, axis=1) + self.eps)
        return _largest("relative_force", ratio, self.threshold)


@dataclass(frozen=True)
class ForceTrigger:
    """Fires when the largest sigma_F,i exceeds ``threshold`` (eV/A)."""

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return _largest("force", prediction.force_std, self.threshold)


@dataclass(frozen=True)
class EnergyTrigger:
    """Fires when sigma_E / n_atoms exceeds ``threshold`` (eV/atom)."""

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        value = prediction.energy_std / len(atoms)
        return TriggerReport("energy_per_atom", value, self.threshold, value > self.threshold)


def _largest(name: str, values: np.ndarray, threshold: float) -> TriggerReport:
    atom = int(np.argmax(values))
    value = float(values[atom])
    return TriggerReport(name, value, threshold, value > threshold, atom)


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
