"""Standard deviations of a structure's predictions, as they are and as large as errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scales import Scales
from .support import SHARE


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of one structure's predictions.

    ``energy`` eV; ``forces (n_atoms,)`` eV/A, the length of each atom's force
    deviation, sqrt(trace of its 3x3 covariance); ``stress (6,)`` eV/A^3 in
    ASE's Voigt order, None without three periodic directions; ``extrapolated`` eV, what of the
    energy rests on environments that the fit does not know (`Support.changes`, over all atoms).
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    extrapolated: float = 0.0

    def scaled(self, scales: Scales) -> Uncertainty:
        """As large as errors: each property by its scale, the energy with its support.

        sqrt((scale sigma_E)^2 + (`SHARE` x extrapolated)^2); nothing else is left to be added.
        """
        energy = np.hypot(scales.energy.value * self.energy, SHARE * self.extrapolated)
        stress = None if self.stress is None else scales.virial.value * self.stress
        return Uncertainty(float(energy), scales.forces.value * self.forces, stress)


@dataclass(frozen=True)
class LocalUncertainty:
    """Of each atom: ``energies (n_atoms,)`` eV and ``forces (n_atoms,)`` eV/A, as large as errors.

    ``outside (n_atoms,)`` eV is what of each energy is extrapolated (`Support.changes`).
    """

    energies: np.ndarray
    forces: np.ndarray
    outside: np.ndarray

    @classmethod
    def of(
        cls, energies: np.ndarray, forces: np.ndarray, outside: np.ndarray, scales: Scales
    ) -> LocalUncertainty:
        """From raw deviations, as of `Uncertainty.scaled`.

        Parameters
        ----------
        energies, forces
            ``(n_atoms,)`` raw deviations, eV and eV/A.
        outside
            ``(n_atoms,)`` eV.
        scales
            What makes deviations as large as errors.
        """
        scaled = np.hypot(scales.energy.value * energies, SHARE * outside)
        return cls(scaled, scales.forces.value * forces, outside)
