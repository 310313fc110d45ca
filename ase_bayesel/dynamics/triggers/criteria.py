"""The criteria: one uncertainty of one evaluation each.

What they cost beyond the biased step: `EnergyTrigger` nothing; `LocalEnergyTrigger` one forward
pass and O(n_atoms D^2); force triggers the Jacobian, or a `ForceSearch` for features of a
network, and both lazily; `StressTrigger` the Jacobian, or seven Jacobian-vector products of a
network; `InformationTrigger` all rows of a label, also for a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms, units

from ...bias.prediction import Prediction
from ...io.magnitudes import Positive
from .base import TriggerReport, compared
from .uncalibrated import Threshold


@dataclass(frozen=True)
class RelativeForceTrigger:
    """Fires when max_i sigma_F,i / (|F_i| + eps) exceeds ``threshold`` (no unit).

    F are the unbiased forces; ``eps`` (eV/A) keeps small forces from dominating. ``exact`` asks
    for the deviations of all atoms also for features of a network, where a `ForceSearch` would
    do (see `singles.force_search`). ``calibrated`` deviations are those times the surrogate's
    `Scales.in_campaign`: in size they are errors, and a threshold fits every material.
    """

    kind: ClassVar[str] = "relative_force"
    unit: ClassVar[str] = ""

    threshold: Threshold
    eps: Positive = 0.2
    exact: bool = False
    calibrated: bool = False

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return _leading(self.kind, self.threshold, prediction, self.scales(prediction))

    def scales(self, prediction: Prediction) -> np.ndarray:
        """What each atom's sigma_F,i is divided by, ``(n_atoms,)``."""
        scales = np.linalg.norm(prediction.forces, axis=1) + self.eps
        return scales / _force_scale(prediction) if self.calibrated else scales


@dataclass(frozen=True)
class ForceTrigger:
    """Fires when the largest sigma_F,i exceeds ``threshold`` (eV/A).

    ``exact`` and ``calibrated`` as in `RelativeForceTrigger`.
    """

    kind: ClassVar[str] = "force"
    unit: ClassVar[str] = "eV/A"

    threshold: Threshold
    exact: bool = False
    calibrated: bool = False

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return _leading(self.kind, self.threshold, prediction, self.scales(prediction))

    def scales(self, prediction: Prediction) -> np.ndarray:
        """What each atom's sigma_F,i is divided by, ``(n_atoms,)``: ones, or the scale."""
        scale = _force_scale(prediction) if self.calibrated else 1.0
        return np.full(len(prediction.biased_forces), 1.0 / scale)


@dataclass(frozen=True)
class EnergyTrigger:
    """Fires when sigma_E / n_atoms exceeds ``threshold`` (eV/atom).

    ``calibrated`` as in `RelativeForceTrigger`.
    """

    kind: ClassVar[str] = "energy_per_atom"
    unit: ClassVar[str] = "eV/atom"

    threshold: Threshold
    calibrated: bool = False

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        scale = prediction.surrogate.scales.energy.value if self.calibrated else 1.0
        return compared(self.kind, scale * prediction.energy_std / len(atoms), self.threshold)


@dataclass(frozen=True)
class StressTrigger:
    """Fires when the length of the stress deviation exceeds ``threshold`` (GPa).

    The square root of the summed variances of all nine components, which does not depend on
    the orientation of the axes. A structure without three periodic directions has no stress:
    ValueError.
    """

    kind: ClassVar[str] = "stress"
    unit: ClassVar[str] = "GPa"

    threshold: Threshold

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        std = prediction.stress_std
        if std is None:
            raise ValueError("a stress trigger needs three periodic directions")
        length = float(np.linalg.norm([*std, *std[3:]]))
        return compared(self.kind, length / units.GPa, self.threshold)


@dataclass(frozen=True)
class LocalEnergyTrigger:
    """Fires when the deviation of one atom's energy, max_i sqrt(b_i^T Sigma b_i), exceeds it (eV).

    b_i are the atomic features (`Features.values`): the local measure of extrapolation of a
    linear model. Up to the noise it is the square root of the leverage of an atomic environment,
    what D-optimality bounds; the extrapolation grade of Podryabinkin and Shapeev (2017) and
    Lysogorskiy et al. (2023) is the largest coefficient of the same b_i in an active set.
    """

    kind: ClassVar[str] = "local_energy"
    unit: ClassVar[str] = "eV"

    threshold: Threshold

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        std = prediction.local_energy_std
        atom = int(np.argmax(std))
        return compared(self.kind, float(std[atom]), self.threshold, atom)


@dataclass(frozen=True)
class InformationTrigger:
    """Fires when a label of the structure would bring more than ``threshold`` of information.

    log det(I + A Sigma A^T) with all weighted rows A that the label will have (Eq. 4 of Rocke
    and Kermode, 2025), as `selection.scores.information_gain`: no unit, twice the mutual
    information in nats. It grows with the number of atoms.
    """

    kind: ClassVar[str] = "information"
    unit: ClassVar[str] = ""

    threshold: Threshold

    def __call__(self, prediction: Prediction, atoms: Atoms) -> TriggerReport:
        return compared(self.kind, prediction.information_gain, self.threshold)


def _force_scale(prediction: Prediction) -> float:
    return prediction.surrogate.scales.in_campaign.forces.value


def _leading(
    name: str, threshold: float, prediction: Prediction, scales: np.ndarray
) -> TriggerReport:
    atom, force_std = prediction.leading_force(scales)
    return compared(name, force_std / float(scales[atom]), threshold, atom)
