"""Standard deviations of a structure's predictions, as they are and as large as errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scales import Scales


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of one structure's predictions.

    ``energy`` eV; ``forces (n_atoms,)`` eV/A, the length of each atom's force
    deviation, sqrt(trace of its 3x3 covariance); ``stress (6,)`` eV/A^3 in
    ASE's Voigt order, None without three periodic directions; ``extrapolated`` eV, for what of
    the energy rests on environments that the fit does not know (`Support.extrapolated`, over all
    atoms), and ``widening (n_atoms,)`` or 1, no unit, what force deviations are to be multiplied by
    there (`Support.widening`).
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    extrapolated: float = 0.0
    widening: np.ndarray | float = 1.0

    def scaled(self, scales: Scales) -> Uncertainty:
        """As large as errors: each property by its scale, the energy with its support.

        sqrt((scale sigma_E)^2 + extrapolated^2); nothing else is left to be added.
        """
        energy = np.hypot(scales.energy.value * self.energy, self.extrapolated)
        stress = None if self.stress is None else scales.virial.value * self.stress
        forces = scales.forces.value * self.widening * self.forces
        return Uncertainty(float(energy), forces, stress)


@dataclass(frozen=True)
class LocalUncertainty:
    """Of each atom: ``energies (n_atoms,)`` eV and ``forces (n_atoms,)`` eV/A, as large as errors.

    ``outside (n_atoms,)`` eV is for what of each energy is extrapolated (`Support.extrapolated`).
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
            ``(n_atoms,)`` raw deviations, eV and eV/A; those of forces times `Support.widening`.
        outside
            ``(n_atoms,)`` eV.
        scales
            What makes deviations as large as errors.
        """
        scaled = np.hypot(scales.energy.value * energies, outside)
        return cls(scaled, scales.forces.value * forces, outside)
