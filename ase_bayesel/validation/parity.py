"""Labels beside predictions, and their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parity:
    """Reference against prediction; energies ``(n,)`` in eV/atom, forces ``(m,)`` in eV/A.

    ``energy_std`` is the predicted standard deviation of each energy per atom.
    """

    energy: np.ndarray
    energy_predicted: np.ndarray
    energy_std: np.ndarray
    forces: np.ndarray
    forces_predicted: np.ndarray

    def __post_init__(self) -> None:
        energies = {len(self.energy), len(self.energy_predicted), len(self.energy_std)}
        if len(energies) > 1 or len(self.forces) != len(self.forces_predicted):
            raise ValueError("references and predictions differ in number")

    @property
    def energy_rmse(self) -> float | None:
        """eV/atom; None without energies."""
        return _rmse(self.energy_predicted - self.energy)

    @property
    def forces_rmse(self) -> float | None:
        """eV/A over all components; None without forces."""
        return _rmse(self.forces_predicted - self.forces)


def _rmse(difference: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(difference**2))) if difference.size else None


def milli(value: float | None) -> str:
    """An error in meV or meV/A as text; a small one has two digits that say something."""
    if value is None:
        return "-"
    return f"{1e3 * value:.1f}" if value >= 1e-3 else f"{1e3 * value:.2g}"
