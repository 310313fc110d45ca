"""What makes the steps of walkers: ASE, or another program that joins here by a name.

An engine gives the integrator of a walker (`integrators.Integrator`). All else that a walker does
(guards, triggers, trust, moves, restraints, rollback, records) is the same with each.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

from ase import Atoms

from .ensembles import Ensemble, IntegratorStart
from .integrators import Integrator

EngineName = Literal["ase", "lammps"]
"""What a config can name."""


class Engine(Protocol):
    """A program that makes the steps of walkers."""

    name: str

    def refusal(self, ensemble: Ensemble) -> str | None:
        """Why an ensemble is not to be had, whatever the atoms; None where it is."""
        ...

    def check(self, ensemble: Ensemble, atoms: Atoms, where: str) -> None:
        """See whether atoms can be moved so, and whether the program is there.

        Parameters
        ----------
        ensemble
            What the atoms are to be moved by; it suits them as `check_ensemble` says.
        atoms
            The start, with its constraints.
        where
            With what an error begins.

        Raises
        ------
        BayeselError
            Naming what is in the way.
        """
        ...

    def integrator(self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms that passed `check`, on the surface of their calculator.

        Its ``variables``, the atoms and the state of ``start.rng`` between two steps are all that
        its next steps depend on, so that walkers go on bit for bit.
        """
        ...


class AseEngine:
    """Steps by ASE's integrators."""

    name = "ase"

    def refusal(self, ensemble: Ensemble) -> str | None:
        """None: it has all of them."""
        return None

    def check(self, ensemble: Ensemble, atoms: Atoms, where: str) -> None:
        """Nothing beyond `check_ensemble`."""

    def integrator(self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The ensemble's own integrator."""
        return ensemble.dynamics(atoms, start)


ASE = AseEngine()


def engine_of(name: EngineName) -> Engine:
    """The engine of a name; ValueError if there is none."""
    if name == "ase":
        return ASE
    if name == "lammps":
        from .lammps.engine import LammpsEngine

        return LammpsEngine()
    raise ValueError(f"dynamics: expected one of {', '.join(get_args(EngineName))}, got {name!r}")
