"""What makes two structures the same: the content hash."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ..io.hashing import bytes_hash

POSITION_DECIMALS = 8
"""Decimals of a position in extended XYZ; structures are identified to this precision."""


def canonical(atoms: Atoms) -> Atoms:
    """A copy rounded as extended XYZ rounds it; of all else only tags and constraints stay."""
    return Atoms(
        numbers=atoms.numbers,
        positions=np.round(atoms.positions, POSITION_DECIMALS) + 0.0,
        cell=np.round(atoms.cell.array, POSITION_DECIMALS) + 0.0,
        pbc=atoms.pbc,
        tags=atoms.get_tags(),
        constraint=atoms.constraints,
    )


def structure_id(atoms: Atoms) -> str:
    """Content hash of elements, positions, cell and pbc to 1e-8 A.

    The letter s and 15 hexadecimal digits, so that no file format takes it for a number.
    """

    def fixed(values: np.ndarray) -> bytes:
        return np.rint(np.asarray(values) * 10**POSITION_DECIMALS).astype("<i8").tobytes()

    numbers, pbc = atoms.numbers.astype("<i8").tobytes(), atoms.pbc.astype("u1").tobytes()
    content = numbers + fixed(atoms.positions) + fixed(atoms.cell.array) + pbc
    return f"s{bytes_hash(content)[:15]}"
