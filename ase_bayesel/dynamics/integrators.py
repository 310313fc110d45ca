"""ASE's integrators with targets that can be changed and a state that can be saved and restored.

All that these classes add to ASE's: a change of target between two steps; degrees of
freedom that leave out a conserved total momentum; and positions, momenta and cell that are
taken from the atoms at the beginning of each step, so that besides the atoms only
``HIDDEN`` variables are state.

This is the only module that touches private names of ASE. They may change with any release:
setup.cfg bounds the version, and tests/dynamics/test_ase_private_names.py tells which of
them is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.md import nose_hoover_chain as nhc
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

Variables = Mapping[str, tuple[float, ...]]
"""Thermostat and barostat variables by name, flat."""
LARGEST_STEP = 2.0
"""Factor by which the volume may change in a step."""


class CellExplosionError(ArithmeticError):
    """The cell has lost all sense within a step."""


class Integrator(Protocol):
    """ASE's molecular dynamics with targets that change and a state that can be saved."""

    @property
    def variables(self) -> dict[str, tuple[float, ...]]:
        """The state beyond that of the atoms, by name, flat."""
        ...

    def restore(self, variables: Variables) -> None:
        """Set the state; ValueError if it is that of another ensemble."""
        ...

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the targets of the next step; the pressure in eV/A^3."""
        ...

    def irun(self, steps: int) -> Iterator[Any]:
        """Make steps one by one; only an evaluation before the first one."""
        ...


if TYPE_CHECKING:

    class _NoseHooverDynamics(MolecularDynamics):
        """What ASE's integrators with Nose-Hoover chains have in common."""

        masses: np.ndarray
        _q: np.ndarray
        _p: np.ndarray

        def __init__(self, atoms: Atoms, **options: Any) -> None: ...
        def step(self) -> None: ...
        def _update_atoms(self) -> None: ...
        def _get_forces(self) -> np.ndarray: ...
        def _get_volume(self) -> float: ...

else:
    _NoseHooverDynamics = object


class _Saved:
    """State of an integrator beyond that of the atoms."""

    HIDDEN: dict[str, str] = {}

    @property
    def variables(self) -> dict[str, tuple[float, ...]]:
        """The hidden variables."""
        return {
            name: tuple(np.ravel(attrgetter(path)(self)).tolist())
            for name, path in self.HIDDEN.items()
        }

    def restore(self, variables: Variables) -> None:
        """Set the hidden variables."""
        if set(variables) != set(self.HIDDEN):
            raise ValueError(
                f"the state of another ensemble: it holds {sorted(variables)}, "
                f"{type(self).__name__} has {sorted(self.HIDDEN)}"
            )
        for name, path in self.HIDDEN.items():
            *owner, attribute = path.split(".")
            holder = attrgetter(".".join(owner))(self) if owner else self
            before = np.asarray(getattr(holder, attribute))
            value = np.reshape(variables[name], before.shape)
            setattr(holder, attribute, value if before.ndim else float(value))


class ConstantEnergy(_Saved, VelocityVerlet):
    """Velocity Verlet."""

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Nothing to aim at."""


class LangevinThermostat(_Saved, Langevin):
    """Langevin dynamics of Vanden-Eijnden and Ciccotti (2006), Eq. 23, with RATTLE."""

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the bath."""
        if self.temp != units.kB * temperature_K:
            self.set_temperature(temperature_K=temperature_K)


class BussiThermostat(_Saved, Bussi):
    """Stochastic velocity rescaling of Bussi et al. (2007), with RATTLE."""

    HIDDEN = {"transferred_energy": "transferred_energy"}

    def __init__(self, atoms: Atoms, dof: int, **options: Any) -> None:
        super().__init__(atoms, **options)
        self.ndof = dof
        self.target_kinetic_energy = 0.5 * self.temp * dof

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the bath."""
        self.temp = units.kB * temperature_K
        self.target_kinetic_energy = 0.5 * self.temp * self.ndof


class _Chain(_Saved, _NoseHooverDynamics):
    """What the integrators with Nose-Hoover chains share."""

    HIDDEN = {"eta": "_thermostat._eta", "p_eta": "_thermostat._p_eta"}

    def __init__(
        self, atoms: Atoms, dof: int, temperature_K: float, tdamp: float, **options: Any
    ) -> None:
        super().__init__(atoms, temperature_K=temperature_K, tdamp=tdamp, **options)
        # ASE counts 3 N degrees of freedom, and a fraction of an atom does no harm
        self._effective_atoms: Any = dof / 3
        self._tdamp = tdamp
        self._temperature_K = temperature_K
        self._set_baths()

    def _set_baths(self) -> None:
        """Heat baths at the present temperature, with masses that follow from it."""
        self._thermostat = nhc.NoseHooverChainThermostat(
            self._effective_atoms, self.masses, self._temperature_K, self._tdamp
        )

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the baths."""
        if temperature_K != self._temperature_K:
            before = self.variables
            self._temperature_K = temperature_K
            self._set_baths()
            self.restore(before)

    def step(self) -> None:
        """One step from what the atoms are now."""
        self._q = self.atoms.get_positions()
        self._p = self.atoms.get_momenta()
        with np.errstate(over="ignore", invalid="ignore"):  # what explodes, guards see
            super().step()


class ChainThermostat(_Chain, nhc.NoseHooverChainNVT):
    """Nose-Hoover chain of three; linear constraints only.

    Forces are projected. Momenta that begin in the allowed subspace then stay there,
    and the thermostat scales nothing else.
    """

    def _get_forces(self) -> np.ndarray:
        self._update_atoms()
        return self.atoms.get_forces()

    def _update_atoms(self) -> None:
        """Takes back what constraints change, so that to set it again changes nothing."""
        super()._update_atoms()
        self._q, self._p = self.atoms.get_positions(), self.atoms.get_momenta()


class _ChainBarostat(_Chain):
    """What the integrators of Martyna, Tobias and Klein (1994) share."""

    HIDDEN = {**_Chain.HIDDEN, "xi": "_barostat._xi", "p_xi": "_barostat._p_xi"}

    _barostat: Any

    def __init__(self, atoms: Atoms, pdamp: float, **options: Any) -> None:
        self._pdamp = pdamp
        super().__init__(atoms, pdamp=pdamp, **options)

    def aim(self, temperature_K: float, pressure: float) -> None:
        """Set the temperature of the baths and the pressure (eV/A^3)."""
        super().aim(temperature_K, pressure)
        self._pressure_au = pressure

    def _set_baths(self) -> None:
        super()._set_baths()
        self._num_atoms_global = self._effective_atoms
        self._kT = units.kB * self._temperature_K
        self._barostat = self._new_barostat()

    def _new_barostat(self) -> nhc.IsotropicMTKBarostat | nhc.MTKBarostat:
        """A barostat at the present temperature, with masses that follow from it."""
        raise NotImplementedError

    def step(self) -> None:
        """One step from what the atoms are now."""
        self._volume_before = self.atoms.get_volume()
        super().step()

    def _update_atoms(self) -> None:
        """Refuses a cell for which neighbours could not be listed."""
        ratio = self._get_volume() / self._volume_before
        if not 1 / LARGEST_STEP < ratio < LARGEST_STEP:
            raise CellExplosionError(f"the volume changes by a factor {ratio:.3g} in one step")
        super()._update_atoms()

    def _get_forces(self) -> np.ndarray:
        """Asks for the stress first: one evaluation then serves both."""
        self._update_atoms()
        self.atoms.get_stress()
        return super()._get_forces()


class VolumeBarostat(_ChainBarostat, nhc.IsotropicMTKNPT):
    """NPT with a cell that keeps its shape."""

    HIDDEN = {**_ChainBarostat.HIDDEN, "p_eps": "_p_eps"}

    def _new_barostat(self) -> nhc.IsotropicMTKBarostat:
        return nhc.IsotropicMTKBarostat(self._effective_atoms, self._temperature_K, self._pdamp)

    def step(self) -> None:
        """One step from what the atoms are now."""
        self._volume0, self._cell0 = self.atoms.get_volume(), self.atoms.cell.array.copy()
        self._eps = 0.0
        super().step()


class CellBarostat(_ChainBarostat, nhc.MTKNPT):
    """NPT with a cell that is free. Its momentum is symmetric: six degrees of freedom."""

    HIDDEN = {**_ChainBarostat.HIDDEN, "p_cell": "_p_g"}

    def _new_barostat(self) -> nhc.MTKBarostat:
        free: Any = (True,) * 6  # ASE counts those that are True
        return nhc.MTKBarostat(self._effective_atoms, self._temperature_K, self._pdamp, mask=free)

    def step(self) -> None:
        """One step from what the atoms are now."""
        self._h = self.atoms.cell.array.copy()
        super().step()


class AxesBarostat(_ChainBarostat, nhc.MaskedMTKNPT):
    """NPT with lengths of chosen cell vectors that are free, each normal to the other vectors."""

    HIDDEN = {**_ChainBarostat.HIDDEN, "p_axes": "_p_c"}

    def _new_barostat(self) -> nhc.MTKBarostat:
        return nhc.MTKBarostat(
            self._effective_atoms, self._temperature_K, self._pdamp, mask=self.mask
        )

    def step(self) -> None:
        """One step from what the atoms are now."""
        self._h = self.atoms.cell.array.copy()
        self._h0_basis = self._h / np.linalg.norm(self._h, axis=1)[:, None]
        super().step()
