"""Whether a structure can be worked with at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from ..errors import StructureError
from .electronic import electronic_state

LARGEST_A = 1e6
"""Of coordinates and cell vectors: beyond, double precision does not hold these decimals well."""
SMALLEST_A = 0.5
"""Height of a periodic cell; below, an atom has its own images as neighbours by the thousands."""
LARGEST_A3 = 1e9
"""Volume of a periodic cell: neighbour lists take memory in proportion to it."""
OWN_ARRAYS = ("masses", "momenta", "initial_magmoms", "initial_charges")
ON_TOP_A = 0.1
"""Atoms that are closer stand for one that is there twice: no potential is made for them."""


def check_structure(atoms: Atoms, where: str, apart: bool = True) -> None:
    """Raise a `StructureError` that begins with ``where`` if a structure cannot be used.

    It needs atoms, all of known elements, no two of them on top of each other (`ON_TOP_A`, with
    periodic images); coordinates that are finite and at most `LARGEST_A`; where it is periodic a
    cell that is neither flat (`SMALLEST_A`) nor huge (`LARGEST_A3`); sites that are fully
    occupied, by one element; constraints of atoms that it has; masses, momenta and moments
    (`OWN_ARRAYS`) that are such; and an `electronic_state`. Without
    ``apart`` atoms may be on top of each other, as walkers without guards leave them.
    """
    if len(atoms) == 0:
        raise StructureError(f"{where}: has no atoms")
    if (atoms.numbers < 1).any():
        atom = int(np.argmax(atoms.numbers < 1))
        raise StructureError(
            f"{where}: holds atoms of no known element: atom {atom} is {atoms.symbols[atom]!r}; "
            "remove ghost atoms and placeholders"
        )
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
        _check_cell(atoms, where)
    check_beside(atoms, where)
    if apart:
        _check_distances(atoms, where)


def check_beside(atoms: Atoms, where: str) -> None:
    """The part of `check_structure` that is not about elements, places and cell."""
    _check_occupancy(atoms, where)
    _check_constraints(atoms, where)
    _check_own_arrays(atoms, where)
    electronic_state(atoms, where)


def _check_cell(atoms: Atoms, where: str) -> None:
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


def _check_occupancy(atoms: Atoms, where: str) -> None:
    """ASE's reader of CIF files keeps partial occupancies beside whole atoms."""
    sites = atoms.info.get("occupancy")
    if not isinstance(sites, Mapping):
        return
    for site, shares in sites.items():
        if not isinstance(shares, Mapping):
            continue
        if len(shares) > 1 or any(abs(share - 1.0) > 1e-3 for share in shares.values()):
            told = ", ".join(f"{symbol} {share:g}" for symbol, share in shares.items())
            raise StructureError(
                f"{where}: site {site} is partially occupied ({told}); "
                "make an ordered structure of it"
            )


def _check_constraints(atoms: Atoms, where: str) -> None:
    for constraint in atoms.constraints:
        try:
            indices = np.ravel(constraint.get_indices())
        except (AttributeError, NotImplementedError, TypeError, IndexError):
            continue  # of no atoms in particular
        if indices.dtype.kind != "i" or not len(indices):
            continue
        if indices.max() >= len(atoms) or indices.min() < -len(atoms):
            worst = int(indices[np.argmax(np.abs(indices))])
            raise StructureError(
                f"{where}: {type(constraint).__name__} is of atom {worst}, "
                f"and there are {len(atoms)} atoms"
            )


def _check_own_arrays(atoms: Atoms, where: str) -> None:
    """What ASE itself makes of an atom's arrays has to be numbers; no mass is zero or negative."""
    for name in OWN_ARRAYS:
        array = atoms.arrays.get(name)
        if array is None:
            continue
        if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
            raise StructureError(f"{where}: {name!r} of an atom is no finite number")
        if name == "masses" and (array <= 0).any():
            atom = int(np.argmax(np.ravel(array) <= 0))
            raise StructureError(
                f"{where}: the mass of atom {atom} is {np.ravel(array)[atom]:g}; masses are "
                "positive: mend it, or remove the column masses"
            )


def _check_distances(atoms: Atoms, where: str) -> None:
    pair = _on_top(atoms)
    if pair is not None:
        raise StructureError(
            f"{where}: atoms {pair[0]} and {pair[1]} lie on top of each other (less than "
            f"{ON_TOP_A} A apart); remove one, or check the cell"
        )


def _on_top(atoms: Atoms) -> tuple[int, int] | None:
    """The first two atoms that lie within `ON_TOP_A`, over periodic faces too.

    Only atoms that close to a face have images in reach, so that large cells cost nothing.
    """
    axes = np.flatnonzero(atoms.pbc)
    vectors = atoms.cell.array[axes]
    dual = np.linalg.pinv(vectors)
    points = atoms.positions - np.floor(atoms.positions @ dual) @ vectors
    numbers = np.arange(len(atoms))
    for axis, vector in enumerate(vectors):
        reach, inside = ON_TOP_A * np.linalg.norm(dual[:, axis]), points @ dual[:, axis]
        low, high = inside < reach, inside > 1.0 - reach
        points = np.concatenate([points, points[low] + vector, points[high] - vector])
        numbers = np.concatenate([numbers, numbers[low], numbers[high]])
    pairs = cKDTree(points).query_pairs(ON_TOP_A, output_type="ndarray")
    if not len(pairs):
        return None
    first, second = min(map(sorted, numbers[pairs].tolist()))
    return first, second
