"""Integrators of walkers whose steps LAMMPS makes.

Velocity Verlet is LAMMPS's ``fix nve``. Thermostats act on the momenta before the step, here and
not in LAMMPS: their random numbers are the walker's, whose state is saved, and a thermostat of
LAMMPS cannot be taken up again with the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units

from ..ensembles import Langevin
from ..integrators import BussiThermostat, ConstantEnergy
from .session import session_for


def verlet(atoms: Atoms, timestep: float) -> np.ndarray:
    """Make a step of velocity Verlet in LAMMPS; returns the forces after it, eV/A."""
    with session_for(atoms) as session:
        session.step(atoms, timestep)
    return np.asarray(atoms.get_forces(md=True))


class LammpsVerlet(ConstantEnergy):
    """Velocity Verlet."""

    def step(self, forces: Any = None) -> np.ndarray:
        """One step from what the atoms are now."""
        return verlet(self.atoms, self.dt)


class LammpsLangevin(LammpsVerlet):
    """Langevin dynamics of Bussi and Parrinello (2007): exact friction and noise, then Verlet.

    Parameters
    ----------
    atoms
        Moved in place.
    timestep
        In ASE's units.
    ensemble
        With the friction.
    temperature_K
        Of the bath, K.
    rng
        Of the noise.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        ensemble: Langevin,
        temperature_K: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(atoms, timestep)
        self._kept = np.exp(-ensemble.friction_per_fs / units.fs * timestep)
        self._temperature_K, self._rng = temperature_K, rng

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the bath."""
        self._temperature_K = temperature_K

    def step(self, forces: Any = None) -> np.ndarray:
        """Friction and noise, then a step of Verlet."""
        atoms = self.atoms
        noise = self._rng.standard_normal((len(atoms), 3))
        variance = (1 - self._kept**2) * units.kB * self._temperature_K * atoms.get_masses()
        momenta = self._kept * atoms.get_momenta()
        atoms.set_momenta(momenta + np.sqrt(variance)[:, None] * noise)
        return super().step(forces)


class LammpsBussi(BussiThermostat):
    """Stochastic velocity rescaling of Bussi et al. (2007), as in ASE, then Verlet."""

    def step(self, forces: Any = None) -> np.ndarray:
        """Rescaling, then a step of Verlet."""
        self.scale_velocities()
        return verlet(self.atoms, self.dt)
