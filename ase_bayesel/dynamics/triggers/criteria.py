"""The criteria: one uncertainty of one evaluation each.

What they cost beyond the biased step: `EnergyTrigger` nothing; `LocalEnergyTrigger` one forward
pass and O(n_atoms D^2); force triggers the Jacobian, or a `ForceSearch` for features of a
network, and both lazily; `StressTrigger` the Jacobian, or seven Jacobian-vector products of a
network; `InformationTrigger` all rows of a label, also for a network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from ...bias.prediction import Prediction
from .base import TriggerReport, compared

UNITS = {
    "relative_force": "",
    "force": "eV/A",
    "energy_per_atom": "eV/atom",
    "stress": "GPa",
    "local_energy": "eV",
    "information": "",
}
"""Unit of each criterion's value and threshold, by its name."""


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
        return compared("energy_per_atom", prediction.energy_std / len(atoms), self.threshold)


@dataclass(frozen=True)
class StressTrigger:
    """Fires when the length of the stress deviation exceeds ``threshold`` (GPa).

    The square root of the summed variances of all nine components, which does not depend on
    the orientation of the axes. A structure without three periodic directions has no stress:
    ValueError.
    """

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        std = prediction.stress_std
        if std is None:
            raise ValueError("a stress trigger needs three periodic directions")
        length = float(np.linalg.norm([*std, *std[3:]]))
        return compared("stress", length / units.GPa, self.threshold)


@dataclass(frozen=True)
class LocalEnergyTrigger:
    """Fires when the deviation of one atom's energy, max_i sqrt(b_i^T Sigma b_i), exceeds it (eV).

    b_i are the atomic features (`Features.values`): the local measure of extrapolation of a
    linear model. Up to the noise it is the square root of the leverage of an atomic environment,
    what D-optimality bounds; the extrapolation grade of Podryabinkin and Shapeev (2017) and
    Lysogorskiy et al. (2023) is the largest coefficient of the same b_i in an active set.
    """

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        std = prediction.local_energy_std
        atom = int(np.argmax(std))
        return compared("local_energy", float(std[atom]), self.threshold, atom)


@dataclass(frozen=True)
class InformationTrigger:
    """Fires when a label of the structure would bring more than ``threshold`` of information.

    log det(I + A Sigma A^T) with all weighted rows A that the label will have (Eq. 4 of Rocke
    and Kermode, 2025), as `selection.scores.information_gain`: no unit, twice the mutual
    information in nats. It grows with the number of atoms.
    """

    threshold: float

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return compared("information", prediction.information_gain, self.threshold)


def _leading(
    name: str, threshold: float, prediction: Prediction, scales: np.ndarray
) -> TriggerReport:
    atom, force_std = prediction.leading_force(scales)
    return compared(name, force_std / float(scales[atom]), threshold, atom)
