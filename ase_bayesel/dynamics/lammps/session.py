"""Time steps of atoms by instances of LAMMPS, which remember nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from ase import Atoms

from .box import PICOSECOND, Box, lammps_of, velocities_of
from .fix import ExternalFix
from .library import command

KEPT = 16
"""Instances that wait for their next step, at most."""
Key = tuple[int, tuple[bool, ...], bytes]
"""Number of atoms, periodicity and cell: what does not change in an instance."""


class Session:
    """An instance of LAMMPS that makes steps of so many atoms in this cell.

    It is given masses, positions, velocities and forces before each step, so that the atoms
    are all there is of a state. Its arrays stay where they are, since it lists no neighbours.

    Parameters
    ----------
    atoms
        Of which the first step is to be made.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._box = Box.of(atoms)
        self._moved: Atoms | None = None
        self._lmp = lmp = lammps_of(atoms)
        self._fix = ExternalFix(lmp, self._forces)
        command(
            lmp,
            "fix masses all property/atom rmass",
            "set group all mass 1.0",
            "neigh_modify once yes",
            "fix move all nve",
            "thermo 0",
            "thermo_style custom step",
        )
        # with masses in this unit forces accelerate as in ASE, to all digits of its constants
        self._unit = lmp.extract_global("ftm2v") / PICOSECOND**2
        self._timestep = 0.0
        self._fix.command("run 0 post no")
        n_atoms = len(atoms)
        arrays = (lmp.numpy.extract_atom(name)[:n_atoms] for name in ("x", "v", "f", "rmass"))
        self._x, self._v, self._f, self._mass = arrays

    def step(self, atoms: Atoms, timestep: float) -> None:
        """Move atoms on by one step of velocity Verlet, on the surface of their calculator.

        Parameters
        ----------
        atoms
            Moved in place.
        timestep
            In ASE's units.

        Raises
        ------
        Exception
            What the calculator raises.
        CommandError
            What LAMMPS says.
        """
        if timestep != self._timestep:
            command(self._lmp, f"timestep {timestep / PICOSECOND!r}")
            self._timestep = timestep
        masses = atoms.get_masses()
        self._mass[:] = masses * self._unit
        self._x[:] = self._box.inwards(atoms.positions)
        self._v[:] = self._box.inwards(velocities_of(atoms))
        self._f[:] = self._box.inwards(atoms.get_forces(md=True))
        self._moved = atoms
        try:
            self._fix.command("run 1 pre no post no")
        finally:
            self._moved = None
        velocities = self._box.outwards(self._v) / PICOSECOND
        atoms.set_momenta(masses[:, None] * velocities)

    def _forces(self, positions: np.ndarray) -> np.ndarray:
        """Of the atoms in the middle of a step."""
        if self._moved is None:
            return np.zeros_like(positions)
        self._moved.set_positions(self._box.outwards(positions))
        return self._box.inwards(self._moved.get_forces(md=True))

    def close(self) -> None:
        """End the instance."""
        self._lmp.close()


_free: list[tuple[Key, Session]] = []
"""Instances of this process that wait, the last used at the end."""


@contextmanager
def session_for(atoms: Atoms) -> Iterator[Session]:
    """A session for a step of atoms, which is nobody else's within the context.

    Walkers of one process share those that wait; one that strains its cell needs a new one.
    Several are needed where steps stand still in the middle until others are there too
    (`bias.batching`).
    """
    key = len(atoms), tuple(atoms.pbc.tolist()), atoms.cell.array.tobytes()
    place = next((k for k, (other, _) in enumerate(_free) if other == key), None)
    session = Session(atoms) if place is None else _free.pop(place)[1]
    try:
        yield session
    except BaseException:
        session.close()
        raise
    _free.append((key, session))
    if len(_free) > KEPT:
        _free.pop(0)[1].close()
