"""What makes the steps of walkers: ASE, or another program that joins here by a name.

An engine gives the integrator of a walker (`integrators.Integrator`). All else that a walker does
(guards, triggers, trust, moves, restraints, rollback, records) is the same with each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from ase import Atoms

from ..bias.calculator import BiasedCalculator
from .ensembles import Ensemble, IntegratorStart
from .integrators import Integrator
from .moves import Move
from .restraints import Restraint

EngineName = Literal["ase", "lammps", "torch_sim"]
"""What a config can name."""


class Engine(Protocol):
    """A program that makes the steps of walkers."""

    @property
    def name(self) -> str:
        """As a config names it."""
        ...

    @property
    def stride(self) -> int:
        """Steps that it makes at a time."""
        ...

    def refusal(self, ensemble: Ensemble) -> str | None:
        """Why an ensemble is not to be had, whatever the atoms; None where it is."""
        ...

    def check(
        self,
        ensemble: Ensemble,
        atoms: Atoms,
        where: str,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
    ) -> None:
        """See whether atoms can be moved so, and whether the program is there.

        Parameters
        ----------
        ensemble
            What the atoms are to be moved by; it suits them as `check_ensemble` says.
        atoms
            The start, with its constraints.
        where
            With what an error begins.
        moves, restraints
            Of the walker.

        Raises
        ------
        BayeselError
            Naming what is in the way.
        """
        ...

    def check_walker(self, calculator: BiasedCalculator, ends: Sequence[int]) -> None:
        """See whether a walker can be moved on this surface, from its first step to its last.

        Raises
        ------
        DescriptorError, ValueError
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

    name, stride = "ase", 1

    def refusal(self, ensemble: Ensemble) -> str | None:
        """None: it has all of them."""
        return None

    def check(
        self,
        ensemble: Ensemble,
        atoms: Atoms,
        where: str,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
    ) -> None:
        """Nothing beyond what walkers check themselves.

        Parameters
        ----------
        ensemble, atoms, where, moves, restraints
            As of `Engine.check`.
        """

    def check_walker(self, calculator: BiasedCalculator, ends: Sequence[int]) -> None:
        """Nothing."""

    def integrator(self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The ensemble's own integrator."""
        return ensemble.dynamics(atoms, start)


ASE = AseEngine()


def engine_of(name: EngineName, check_interval: int = 1) -> Engine:
    """The engine of a name for walkers with this check interval; ValueError if there is none."""
    if name == "ase":
        return ASE
    if name == "lammps":
        from .lammps.engine import LammpsEngine

        return LammpsEngine()
    if name == "torch_sim":
        from .batched import TorchSimEngine

        return TorchSimEngine(check_interval)
    raise ValueError(f"dynamics: expected one of {', '.join(get_args(EngineName))}, got {name!r}")
