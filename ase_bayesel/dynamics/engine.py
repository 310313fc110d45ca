"""What makes the steps of walkers: ASE, and what other programs have in common with it.

An engine gives the integrator of a walker (`integrators.Integrator`). All else that a walker does
(guards, triggers, trust, moves, restraints, rollback, records) is the same with each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ase import Atoms

from ..bias.calculator import BiasedCalculator
from ..errors import StructureError
from .ensembles import Ensemble, IntegratorStart
from .integrators import Integrator
from .moves import Move
from .restraints import Restraint


class Engine:
    """Steps by ASE's integrators; another program changes what it does not do, or otherwise.

    Attributes
    ----------
    name
        As a config names it.
    stride
        Steps that it makes at a time.
    """

    name: ClassVar[str] = "ase"
    stride: int = 1

    def refusal(
        self,
        ensemble: Ensemble,
        moves: Sequence[Move] = (),
        restraints: Sequence[Restraint] = (),
    ) -> str | None:
        """Why these are not to be had, whatever the atoms; None where they are."""
        return None

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
        if (refused := self.refusal(ensemble, moves, restraints)) is not None:
            raise StructureError(f"{where}: dynamics: {refused}")
        self._check_atoms(atoms, where)

    def _check_atoms(self, atoms: Atoms, where: str) -> None:
        """Whatever the ensemble: ASE moves all atoms."""

    def check_walker(self, calculator: BiasedCalculator, ends: Sequence[int]) -> None:
        """See whether a walker can be moved on this surface, from its first step to its last.

        Raises
        ------
        DescriptorError, ValueError
            Naming what is in the way.
        """

    def integrator(self, ensemble: Ensemble, atoms: Atoms, start: IntegratorStart) -> Integrator:
        """The integrator of atoms that passed `check`, on the surface of their calculator.

        Its ``variables``, the atoms and the state of ``start.rng`` between two steps are all that
        its next steps depend on, so that walkers go on bit for bit.
        """
        return ensemble.dynamics(atoms, start)


ASE = Engine()
