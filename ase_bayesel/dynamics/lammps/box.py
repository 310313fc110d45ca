"""Cells of ASE as boxes of LAMMPS, and atoms of one as those of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.cell import Cell

from ...errors import StructureError
from .library import command, new_lammps

PICOSECOND = 1000 * units.fs
"""In ASE's units."""
MARGIN = 1.0
"""Between atoms and the ends of a box where it is not periodic, A."""


@dataclass(frozen=True)
class Box:
    """A cell of LAMMPS, whose vectors are the rows of a lower triangular matrix.

    Vectors along which there is no periodicity have no meaning to a calculator; in the box they
    are normal to the others, so that every cell has one.

    Attributes
    ----------
    vectors
        ``(3, 3)`` A.
    rotation
        ``(3, 3)`` with ``vectors @ rotation`` the cell.
    """

    vectors: np.ndarray
    rotation: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Box:
        """The box of a structure.

        Raises
        ------
        StructureError
            If periodic cell vectors span no volume.
        """
        cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        if np.linalg.matrix_rank(cell) < atoms.pbc.sum():
            raise StructureError(
                f"LAMMPS needs a cell vector for each periodic axis: cell {atoms.cell.tolist()}, "
                f"pbc {atoms.pbc.tolist()}"
            )
        cell = Cell(cell).complete().array
        if (np.diag(cell) > 0).all() and not np.triu(cell, 1).any():
            return cls(cell, np.eye(3))
        Q, R = np.linalg.qr(cell.T)
        signs = np.sign(np.diag(R))
        return cls(np.tril(R.T * signs), (Q * signs).T)

    def inwards(self, vectors: np.ndarray) -> np.ndarray:
        """Positions, velocities or forces ``(n, 3)`` of ASE in the axes of LAMMPS."""
        return vectors @ self.rotation.T

    def outwards(self, vectors: np.ndarray) -> np.ndarray:
        """Those of LAMMPS in the axes of ASE."""
        return vectors @ self.rotation


def lammps_of(atoms: Atoms) -> Any:
    """A `lammps.lammps` with the box, the atoms and the velocities of a structure.

    Units are ``metal``. Atoms have the numbers 1 to n in their order and a type for each mass of
    each element, by symbol and mass (`types_of`); there is no potential yet. A box that is not
    periodic along an axis is shrink-wrapped there. The axes are LAMMPS's (`Box`): forces and
    stresses of a structure in another orientation are those of the rotated one.

    Raises
    ------
    MissingProgramError
        Without LAMMPS.
    StructureError
        If the structure has no atoms, or no box.
    CommandError
        What LAMMPS says.
    """
    if len(atoms) == 0:
        raise StructureError("LAMMPS: a structure without atoms")
    box, lmp = Box.of(atoms), new_lammps()
    positions, velocities = box.inwards(atoms.positions), box.inwards(velocities_of(atoms))
    lo = np.where(atoms.pbc, 0.0, positions.min(axis=0) - MARGIN)
    hi = np.where(atoms.pbc, np.diag(box.vectors), positions.max(axis=0) + MARGIN)
    ends = " ".join(f"{a!r} {b!r}" for a, b in zip(lo.tolist(), hi.tolist(), strict=True))
    (_, _, _), (xy, _, _), (xz, yz, _) = box.vectors.tolist()
    kinds, numbers = types_of(atoms)
    command(
        lmp,
        "units metal",
        "atom_style atomic",
        "atom_modify map array sort 0 0",
        f"boundary {' '.join('p' if along else 's' for along in atoms.pbc)}",
        "box tilt large",
        f"region box prism {ends} {xy!r} {xz!r} {yz!r} units box",
        f"create_box {len(kinds)} box",
        *(f"mass {k} {mass!r}" for k, (_, mass) in enumerate(kinds, start=1)),
    )
    ids = list(range(1, len(atoms) + 1))
    flat = positions.ravel().tolist(), velocities.ravel().tolist()
    if lmp.create_atoms(len(ids), ids, numbers, *flat, None, True) != len(ids):
        raise StructureError("LAMMPS: not all atoms could be placed in the box")
    order = lmp.numpy.extract_atom("id")[: len(ids)] - 1
    wrapped = positions[order] - lmp.numpy.extract_atom("x")[: len(ids)]
    images = np.rint(wrapped @ np.linalg.inv(box.vectors)).astype(int) * atoms.pbc
    flags = [lmp.encode_image_flags(*image) for image in images.tolist()]
    lmp.numpy.extract_atom("image")[: len(ids)] = flags
    return lmp


def types_of(atoms: Atoms) -> tuple[list[tuple[str, float]], list[int]]:
    """Symbol and mass (g/mol) of each atom type, and the type of each atom, from 1."""
    pairs = list(zip(atoms.get_chemical_symbols(), atoms.get_masses().tolist(), strict=True))
    kinds = sorted(set(pairs))
    return kinds, [1 + kinds.index(pair) for pair in pairs]


def velocities_of(atoms: Atoms) -> np.ndarray:
    """``(n, 3)`` A/ps."""
    return np.asarray(atoms.get_velocities() * PICOSECOND)


def cell_of(lmp: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors ``(3, 3)`` in A and periodicity ``(3,)`` of an instance's box."""
    lo, hi, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = np.subtract(hi, lo)
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), np.array(periodic, bool)
