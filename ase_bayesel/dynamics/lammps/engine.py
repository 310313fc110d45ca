"""What LAMMPS can do for walkers."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms, units

from ...errors import MissingProgramError, StructureError
from ..engine import Engine
from ..ensembles import (
    LINEAR_CONSTRAINTS,
    NVE,
    Bussi,
    Ensemble,
    IntegratorStart,
    Langevin,
    degrees_of_freedom,
)
from ..integrators import Integrator
from ..moves import Move
from ..restraints import Restraint
from .box import Box
from .integrators import LammpsBussi, LammpsLangevin, LammpsVerlet
from .library import lammps_module


class LammpsEngine(Engine):
    """Steps by LAMMPS, on one rank of this process, with forces by ``fix external``."""

    name = "lammps"

    def refusal(
        self,
        ensemble: Ensemble,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
    ) -> str | None:
        """Why an ensemble is not to be had, None where it is; moves and restraints all are."""
        if isinstance(ensemble, NVE | Langevin | Bussi):
            return None
        return f"lammps takes the ensembles nve, langevin and bussi, not {ensemble.kind}"

    def _check_atoms(self, atoms: Atoms, where: str) -> None:
        odd = [type(c).__name__ for c in atoms.constraints if not isinstance(c, LINEAR_CONSTRAINTS)]
        if odd:
            raise StructureError(
                f"{where}: dynamics: lammps does not take the constraint {odd[0]}; ase does"
            )
        try:
            Box.of(atoms)
        except StructureError as error:
            raise StructureError(f"{where}: dynamics: {error}") from None
        try:
            lammps_module()
        except MissingProgramError as error:
            raise MissingProgramError(f"{where}: dynamics: {error}") from error

    def integrator(self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms."""
        if isinstance(ensemble, NVE):
            return LammpsVerlet(atoms, start.timestep)
        if isinstance(ensemble, Langevin):
            return LammpsLangevin(atoms, start.timestep, ensemble, start.temperature_K, start.rng)
        if isinstance(ensemble, Bussi):
            return LammpsBussi(
                atoms,
                degrees_of_freedom(atoms, ensemble),
                timestep=start.timestep,
                temperature_K=start.temperature_K,
                taut=ensemble.time_constant_fs * units.fs,
                rng=start.rng,
            )
        raise ValueError(f"dynamics: {self.refusal(ensemble)}")
