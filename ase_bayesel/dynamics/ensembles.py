"""Ensembles: what a walker samples, by which of ASE's integrators, and with which constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixedLine, FixedPlane, Hookean
from pydantic import Field

from ..errors import StructureError
from ..io.kinds import OneOf
from ..io.magnitudes import Femtoseconds
from .integrators import (
    AxesBarostat,
    BussiThermostat,
    CellBarostat,
    ChainThermostat,
    ConstantEnergy,
    Integrator,
    LangevinThermostat,
    VolumeBarostat,
)

LINEAR_CONSTRAINTS = (FixAtoms, FixCartesian, FixCom, FixedLine, FixedPlane, Hookean)
"""Constraints that hold once forces and momenta are projected."""
RIGHT_ANGLE = 1e-6
"""Largest cosine between vectors that count as normal to each other."""


@dataclass(frozen=True)
class IntegratorStart:
    """With what an integrator begins.

    Attributes
    ----------
    timestep
        In ASE's units.
    temperature_K
        Target, K.
    pressure
        Target, eV/A^3; for ensembles with a barostat.
    rng
        Of the thermostats that draw.
    """

    timestep: float
    temperature_K: float
    pressure: float
    rng: np.random.Generator


@dataclass(frozen=True)
class NVE:
    """Constant energy, by velocity Verlet."""

    kind: ClassVar[str] = "nve"
    conserves_momentum: ClassVar[bool] = True
    thermostatted: ClassVar[bool] = False

    def dynamics(self, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        return ConstantEnergy(atoms, start.timestep)


@dataclass(frozen=True)
class Langevin:
    """Constant temperature by friction and noise on each atom.

    The total momentum is thermal too. ``friction_per_fs`` is 1/fs.
    """

    kind: ClassVar[str] = "langevin"

    friction_per_fs: Annotated[float, Field(ge=1e-9, le=10)] = 0.01
    conserves_momentum: ClassVar[bool] = False
    thermostatted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive(self, "friction_per_fs")

    def dynamics(self, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        return LangevinThermostat(
            atoms,
            start.timestep,
            temperature_K=start.temperature_K,
            friction=self.friction_per_fs / units.fs,
            fixcm=False,
            rng=start.rng,
        )


@dataclass(frozen=True)
class Bussi:
    """Constant temperature by stochastic rescaling of all velocities.

    ``time_constant_fs`` is that of the kinetic energy's relaxation.
    """

    kind: ClassVar[str] = "bussi"

    time_constant_fs: Femtoseconds = 100.0
    conserves_momentum: ClassVar[bool] = True
    thermostatted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive(self, "time_constant_fs")

    def dynamics(self, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        return BussiThermostat(
            atoms,
            degrees_of_freedom(atoms, self),
            timestep=start.timestep,
            temperature_K=start.temperature_K,
            taut=self.time_constant_fs * units.fs,
            rng=start.rng,
        )


@dataclass(frozen=True)
class NoseHooverChain:
    """Constant temperature by a deterministic chain of three heat baths.

    ``time_constant_fs`` is the baths' period over 2 pi. Constraints must be linear.
    """

    kind: ClassVar[str] = "nose_hoover_chain"

    time_constant_fs: Femtoseconds = 100.0
    conserves_momentum: ClassVar[bool] = True
    thermostatted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive(self, "time_constant_fs")

    def dynamics(self, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        return ChainThermostat(
            atoms,
            degrees_of_freedom(atoms, self),
            timestep=start.timestep,
            temperature_K=start.temperature_K,
            tdamp=self.time_constant_fs * units.fs,
        )


@dataclass(frozen=True)
class NPT:
    """Constant temperature and pressure, by the equations of Martyna, Tobias and Klein.

    Attributes
    ----------
    cell
        ``"volume"``: the cell keeps its shape. ``"axes"``: it keeps its angles, and
        the lengths of cell vectors vary one by one. ``"full"``: lengths and angles vary.
    axes
        Which cell vectors vary in length, for ``"axes"``; each of these is normal to
        the other two vectors.
    thermostat_fs, barostat_fs
        Periods of thermostat and barostat over 2 pi.
    """

    kind: ClassVar[str] = "npt"

    cell: Literal["volume", "axes", "full"] = "volume"
    axes: tuple[bool, bool, bool] = (True, True, True)
    thermostat_fs: Femtoseconds = 100.0
    barostat_fs: Femtoseconds = 1000.0
    conserves_momentum: ClassVar[bool] = True
    thermostatted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive(self, "thermostat_fs")
        _check_positive(self, "barostat_fs")
        if self.cell not in ("volume", "axes", "full"):
            raise ValueError(f"cell: expected volume, axes or full, got {self.cell!r}")
        if not any(self.axes):
            raise ValueError("axes: at least one cell vector must vary")

    def dynamics(self, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        kinds: dict[str, Callable[..., Integrator]] = {
            "volume": VolumeBarostat,
            "axes": AxesBarostat,
            "full": CellBarostat,
        }
        return kinds[self.cell](
            atoms,
            dof=degrees_of_freedom(atoms, self),
            timestep=start.timestep,
            temperature_K=start.temperature_K,
            pressure_au=start.pressure,
            tdamp=self.thermostat_fs * units.fs,
            pdamp=self.barostat_fs * units.fs,
            **({"mask": np.array(self.axes)} if self.cell == "axes" else {}),
        )


Ensemble = NVE | Langevin | Bussi | NoseHooverChain | NPT
ENSEMBLES: tuple[type, ...] = (NVE, Langevin, Bussi, NoseHooverChain, NPT)
"""What a config can name by its kind."""
AnyEnsemble = Annotated[Ensemble, OneOf(ENSEMBLES)]
"""An ensemble, as a config describes it."""


def _check_positive(ensemble: Ensemble, name: str) -> None:
    value = getattr(ensemble, name)
    if not 0 < value < np.inf:
        raise ValueError(f"{name}: must be finite and positive, got {value}")


def check_ensemble(ensemble: Ensemble, atoms: Atoms, pressure_given: bool, where: str) -> None:
    """Raise a `StructureError` if an ensemble does not suit atoms or their constraints.

    Parameters
    ----------
    ensemble
        What the atoms are to be moved by.
    atoms
        The start.
    pressure_given
        Whether there is a target of the pressure.
    where
        With what the error begins.
    """
    if not isinstance(ensemble, ENSEMBLES):
        names = ", ".join(f"{kind.__name__}()" for kind in ENSEMBLES)
        got = ensemble.__module__ if isinstance(ensemble, type) else type(ensemble).__module__
        raise StructureError(
            f"{where}: ensemble: expected one of ase_bayesel's ({names}), got one of {got}"
        )
    constraints = list(atoms.constraints)
    try:
        atoms.get_number_of_degrees_of_freedom()
    except NotImplementedError as error:
        names = ", ".join(type(c).__name__ for c in constraints)
        raise StructureError(
            f"{where}: a constraint does not tell how many degrees of freedom it removes ({names}),"
            " so that no temperature can be told"
        ) from error
    if isinstance(ensemble, NPT):
        _check_npt(ensemble, atoms, pressure_given, where)
    if isinstance(ensemble, NoseHooverChain):
        odd = [type(c).__name__ for c in constraints if not isinstance(c, LINEAR_CONSTRAINTS)]
        if odd:
            raise StructureError(
                f"{where}: constraint {odd[0]} does not work with a Nose-Hoover chain; "
                "NVE, Langevin and Bussi take it"
            )
    if ensemble.thermostatted and degrees_of_freedom(atoms, ensemble) < 1:
        raise StructureError(
            f"{where}: no degree of freedom is left for the thermostat; Langevin dynamics "
            "moves the centre of mass too"
        )


def _check_npt(ensemble: NPT, atoms: Atoms, pressure_given: bool, where: str) -> None:
    if not pressure_given:
        raise StructureError(f"{where}: NPT needs pressure_GPa")
    if not atoms.pbc.all():
        raise StructureError(
            f"{where}: NPT needs periodicity along all three cell vectors, pbc is "
            f"{atoms.pbc.tolist()}"
        )
    if atoms.constraints:
        names = ", ".join(sorted({type(c).__name__ for c in atoms.constraints}))
        raise StructureError(
            f"{where}: NPT moves all atoms with the cell and takes no constraints ({names}); "
            "NVE, Langevin, Bussi and Nose-Hoover chains do"
        )
    vectors = atoms.cell.array / atoms.cell.lengths()[:, None]
    cosines = np.abs(vectors @ vectors.T - np.eye(3))[list(ensemble.axes)]
    if ensemble.cell == "axes" and cosines.max() > RIGHT_ANGLE:
        raise StructureError(
            f"{where}: NPT with cell: axes needs vectors that are normal to the others; use "
            "cell: full, or volume"
        )


def conserved_directions(atoms: Atoms) -> np.ndarray:
    """Directions along which forces cannot change the total momentum, ``(k, 3)``, orthonormal.

    All three without constraints. Those directions are left out that constraints take from
    the momenta of a translating body, since these are counted by the constraints, and
    all where a constraint adds forces.
    """
    if any(hasattr(c, "adjust_potential_energy") for c in atoms.constraints):
        return np.zeros((0, 3))
    masses = atoms.get_masses()
    lost = np.zeros((3, len(atoms), 3))
    for axis in range(3):
        momenta = np.zeros((len(atoms), 3))
        momenta[:, axis] = masses
        kept = momenta.copy()
        for constraint in atoms.constraints:
            constraint.adjust_momenta(atoms, kept)
        lost[axis] = (momenta - kept) / np.sqrt(masses)[:, None]
    fractions, directions = np.linalg.eigh(np.einsum("iak,jak->ij", lost, lost) / masses.sum())
    return directions.T[fractions < 1e-9]


def degrees_of_freedom(atoms: Atoms, ensemble: Ensemble) -> int:
    """Number of momenta that a thermostat can reach.

    3 n_atoms, less what constraints remove and, in ensembles that conserve it, the total
    momentum.
    """
    dof = atoms.get_number_of_degrees_of_freedom()
    return dof - len(conserved_directions(atoms)) if ensemble.conserves_momentum else dof


def bring_to_rest(atoms: Atoms, ensemble: Ensemble) -> None:
    """Remove the total momentum where the ensemble conserves it."""
    if ensemble.conserves_momentum:
        directions = conserved_directions(atoms)
        masses = atoms.get_masses()
        velocity = atoms.get_momenta().sum(axis=0) / masses.sum() @ directions.T @ directions
        atoms.set_momenta(atoms.get_momenta() - masses[:, None] * velocity)
