"""Forces from Python in LAMMPS, by its ``fix external``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from ase.stress import voigt_6_to_full_3x3_stress

from ...errors import StructureError
from .box import PICOSECOND, cell_of
from .library import command

FIX = "bayesel"
"""Id of the fix."""
ORDER = (0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)
"""Components of LAMMPS's virials."""


class ExternalFix:
    """A function of positions that gives the forces of an instance of LAMMPS, on one rank.

    Parameters
    ----------
    lmp
        A `lammps.lammps` with atoms of the numbers 1 to n, in ``metal`` units.
    forces
        Positions ``(n, 3)`` by number -> forces ``(n, 3)``, A and eV/A.

    Raises
    ------
    StructureError
        If the instance runs on several ranks, or has other units or numbers.
    """

    def __init__(self, lmp: Any, forces: Callable[[np.ndarray], np.ndarray]) -> None:
        if lmp.extract_setting("world_size") != 1:
            raise StructureError("LAMMPS: forces from Python need an instance on one rank")
        if (unit := lmp.extract_global("units")) != "metal":
            raise StructureError(f"LAMMPS: units metal are needed, these are {unit}")
        self.lmp, self._forces = lmp, forces
        self._n_atoms = lmp.get_natoms()
        self._error: BaseException | None = None
        numbers = lmp.numpy.extract_atom("id")[: self._n_atoms]
        if sorted(numbers.tolist()) != list(range(1, self._n_atoms + 1)):
            raise StructureError("LAMMPS: atoms need the numbers 1 to n; see reset_atoms id")
        command(lmp, f"fix {FIX} all external pf/callback 1 1")
        lmp.set_fix_external_callback(FIX, self._called, None)

    def command(self, line: str) -> None:
        """Make a command of LAMMPS, a run, say.

        Raises
        ------
        Exception
            What the forces raise; the run ends with that step.
        CommandError
            What LAMMPS says.
        """
        self._error = None
        command(self.lmp, line)
        if self._error is not None:
            raise self._error

    def _called(
        self, _: Any, step: int, n_atoms: int, tags: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        if self._error is not None:
            f[:] = 0.0
            return
        try:
            if n_atoms != self._n_atoms:
                raise StructureError(
                    f"LAMMPS: step {step} has {n_atoms} atoms of {self._n_atoms}, others were lost "
                    "or created"
                )
            order = tags - 1
            positions = np.empty((n_atoms, 3))
            positions[order] = x
            f[:] = self._forces(positions)[order]
        except BaseException as error:  # it would be lost on the way through LAMMPS
            f[:] = 0.0
            self._error = error
            self.lmp.force_timeout()


class CalculatorFix:
    """An ASE calculator as the potential of a LAMMPS of your own: energy, forces and virial.

    Whatever LAMMPS does with these, it does: its integrators, barostats, minimizers, walls and
    so on. Other pair styles and fixes add to the forces. The atoms are what they are in LAMMPS's
    axes, each at the image that it has moved to.

    Parameters
    ----------
    lmp
        A `lammps.lammps` with atoms of the numbers 1 to n in a box, in ``metal`` units, on one
        rank; `lammps_of` makes one of a structure.
    calculator
        Any; a `BiasedCalculator`, say.
    symbols
        Chemical symbol of each atom type.
    stop
        (atoms) -> whether the run ends with this step; asked after each evaluation, so that a
        trigger can look at ``calculator.prediction``.

    Attributes
    ----------
    atoms
        The last evaluated structure, with the calculator.
    stopped
        Whether ``stop`` has ended the last run.

    Raises
    ------
    StructureError
        If the instance runs on several ranks, or has other units, numbers or numbers of types.
    """

    def __init__(
        self,
        lmp: Any,
        calculator: Calculator,
        symbols: Sequence[str],
        stop: Callable[[Atoms], bool] | None = None,
    ) -> None:
        n_types = lmp.extract_global("ntypes")
        if len(symbols) != n_types:
            raise StructureError(f"LAMMPS: {n_types} atom types, but {len(symbols)} symbols")
        self._fix = ExternalFix(lmp, self._forces)
        command(lmp, f"fix_modify {FIX} energy yes virial yes")
        self._stop, self.stopped = stop, False
        types, masses = _by_number(lmp, "type"), lmp.numpy.extract_atom("mass")
        cell, pbc = cell_of(lmp)
        images = [lmp.decode_image_flags(int(image)) for image in _by_number(lmp, "image")]
        positions = _by_number(lmp, "x") + images @ cell
        self.atoms = Atoms([symbols[k - 1] for k in types], positions, cell=cell, pbc=pbc)
        self.atoms.set_masses(np.array([masses[k] for k in types]))
        self.atoms.calc = calculator
        self._stress = pbc.all() and "stress" in calculator.implemented_properties

    def run(self, n_steps: int, options: str = "") -> Atoms:
        """Run until the end, or until ``stop`` says so; returns a copy of the last structure.

        Parameters
        ----------
        n_steps
            Number of steps.
        options
            Of LAMMPS's ``run``.

        Raises
        ------
        Exception
            What the calculator or ``stop`` raises; the run ends with that step.
        CommandError
            What LAMMPS says.
        """
        lmp, self.stopped = self._fix.lmp, False
        command(lmp, "timer timeout off")  # a run that was stopped stops those after it
        self._fix.command(f"run {n_steps} {options}")
        atoms = self.atoms.copy()
        masses = atoms.get_masses()[:, None]
        atoms.set_momenta(masses * _by_number(lmp, "v") / PICOSECOND)
        return atoms

    def _forces(self, positions: np.ndarray) -> np.ndarray:
        atoms = self.atoms
        atoms.cell[:] = cell_of(self._fix.lmp)[0]
        moved = find_mic(positions - atoms.positions, atoms.cell, atoms.pbc)[0]
        atoms.positions += moved
        if self._stress:  # asked for first: one evaluation then serves all
            stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
            virial = [-stress[pair] * atoms.get_volume() for pair in ORDER]
            self._fix.lmp.fix_external_set_virial_global(FIX, virial)
        forces = atoms.get_forces()
        self._fix.lmp.fix_external_set_energy_global(FIX, atoms.get_potential_energy())
        if self._stop is not None and self._stop(atoms):
            self.stopped = True
            self._fix.lmp.force_timeout()
        return np.asarray(forces)


def _by_number(lmp: Any, name: str) -> np.ndarray:
    """A property of the atoms, by their numbers."""
    n_atoms = lmp.get_natoms()
    values = lmp.numpy.extract_atom(name)[:n_atoms]
    return np.array(values[np.argsort(lmp.numpy.extract_atom("id")[:n_atoms])])
