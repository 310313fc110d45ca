"""Whether a structure can be worked with at all."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..errors import StructureError

LARGEST_A = 1e6
"""Of coordinates and cell vectors: beyond, double precision does not hold these decimals well."""
SMALLEST_A = 0.5
"""Height of a periodic cell; below, an atom has its own images as neighbours by the thousands."""
LARGEST_A3 = 1e9
"""Volume of a periodic cell: neighbour lists take memory in proportion to it."""


def check_structure(atoms: Atoms, where: str) -> None:
    """Raise a `StructureError` that begins with ``where`` if a structure cannot be used.

    It needs atoms, all of known elements; coordinates that are finite and at most `LARGEST_A`;
    and where it is periodic a cell that is neither flat (`SMALLEST_A`) nor huge (`LARGEST_A3`).
    """
    if len(atoms) == 0:
        raise StructureError(f"{where}: has no atoms")
    if (atoms.numbers < 1).any():
        raise StructureError(f"{where}: holds atoms of no known element")
    if not np.isfinite(atoms.positions).all():
        atom = int(np.argwhere(~np.isfinite(atoms.positions))[0, 0])
        raise StructureError(f"{where}: position of atom {atom} is not finite")
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"{where}: the cell is not finite")
    largest = max(np.abs(atoms.positions).max(), np.abs(atoms.cell.array).max())
    if largest > LARGEST_A:
        raise StructureError(
            f"{where}: a position or cell vector reaches {largest:.3g} A; "
            f"at most {LARGEST_A:g} A can be used"
        )
    if atoms.pbc.any():
        periodic = atoms.cell.array[atoms.pbc]
        if np.linalg.matrix_rank(periodic) < len(periodic):
            raise StructureError(
                f"{where}: periodic along {int(atoms.pbc.sum())} directions but the cell is zero "
                "or flat there; set the cell or pbc=False"
            )
        height = 1.0 / np.linalg.norm(np.linalg.pinv(periodic), axis=0).max()
        if height < SMALLEST_A:
            raise StructureError(f"{where}: the cell is flat, {height:.3g} A at its thinnest")
        if atoms.pbc.all() and atoms.get_volume() > LARGEST_A3:
            raise StructureError(f"{where}: the periodic cell is huge; cut vacuum or set pbc=False")
