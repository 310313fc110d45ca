"""What makes two structures the same: the content hash, and comparison within a tolerance."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ..io.hashing import bytes_hash
from .electronic import electronic_state
from .labels import WHOLE

POSITION_DECIMALS = 8
"""Decimals of a position in extended XYZ; structures are identified to this precision."""
STATES = ("initial_magmoms", "initial_charges")
"""Arrays of what an electronic state begins with: two such states are two structures."""

STATE_MARK = "m"
MOST_SHIFTS = 32
"""So many origins are tried to tell what is wrong with a structure."""


def canonical(atoms: Atoms) -> Atoms:
    """A copy rounded as extended XYZ rounds it.

    Of all else only tags, constraints, initial moments and charges (`STATES`), and what is not
    usual of charge and multiplicity (`electronic_state`) stay, and which atoms of a cut-out are
    whole (`WHOLE`).
    """
    out = Atoms(
        numbers=atoms.numbers,
        positions=np.round(atoms.positions, POSITION_DECIMALS) + 0.0,
        cell=np.round(atoms.cell.array, POSITION_DECIMALS) + 0.0,
        pbc=atoms.pbc,
        tags=atoms.get_tags(),
        constraint=atoms.constraints,
        info=electronic_state(atoms).own,
    )
    for name, state in states_of(atoms).items():
        out.set_array(name, np.round(state, POSITION_DECIMALS) + 0.0)
    if WHOLE in atoms.arrays:
        out.set_array(WHOLE, atoms.arrays[WHOLE])
    return out


def states_of(atoms: Atoms) -> dict[str, np.ndarray]:
    """Initial magnetic moments and charges, where they are not all zero."""
    return {
        name: atoms.arrays[name].astype(float)
        for name in STATES
        if name in atoms.arrays and atoms.arrays[name].any()
    }


def structure_id(atoms: Atoms) -> str:
    """Content hash of elements, positions, cell and pbc to 1e-8 A, of charge and multiplicity where
    they are not usual (`electronic_state`), and of `states_of`.

    The letter s and 15 hexadecimal digits, so that no file format takes it for a number; with
    moments or charges the letter m and 8 more, of these. See `geometry_id`.
    """

    def fixed(values: np.ndarray) -> bytes:
        return np.rint(np.asarray(values) * 10**POSITION_DECIMALS).astype("<i8").tobytes()

    numbers, pbc = atoms.numbers.astype("<i8").tobytes(), atoms.pbc.astype("u1").tobytes()
    content = numbers + fixed(atoms.positions) + fixed(atoms.cell.array) + pbc
    for key, value in electronic_state(atoms).own.items():
        content += f"{key} {value};".encode()
    geometry, states = f"s{bytes_hash(content)[:15]}", states_of(atoms)
    if not states:
        return geometry
    beside = b"".join(name.encode() + fixed(state) for name, state in states.items())
    return f"{geometry}{STATE_MARK}{bytes_hash(beside)[:8]}"


def geometry_id(identity: str) -> str:
    """The part of a `structure_id` that knows nothing of initial moments and charges."""
    return identity.partition(STATE_MARK)[0]


def matching_order(atoms: Atoms, other: Atoms, tolerance_A: float) -> np.ndarray | None:
    """The atoms of another structure in the order of the first, ``(n_atoms,)``.

    None if it is another structure: of other elements, or with a cell vector or an atom that
    differs by more than the tolerance, images over periodic faces aside.
    """
    if not _same_elements(atoms, other) or _cell_difference(atoms, other) > tolerance_A:
        return None
    if (atoms.numbers == other.numbers).all():
        distances = _distances(atoms, other.positions - atoms.positions)
        if distances.max() <= tolerance_A:
            return np.arange(len(atoms))
    order = np.empty(len(atoms), int)
    for number in np.unique(atoms.numbers):
        ours = np.flatnonzero(atoms.numbers == number)
        theirs = np.flatnonzero(other.numbers == number)
        vectors = other.positions[theirs][None] - atoms.positions[ours][:, None]
        distances = _distances(atoms, vectors.reshape(-1, 3)).reshape(len(ours), len(theirs))
        if distances.min(axis=1).max() > tolerance_A:
            return None
        order[ours] = theirs[distances.argmin(axis=1)]
    return order if len(np.unique(order)) == len(order) else None


def difference(atoms: Atoms, other: Atoms, tolerance_A: float) -> str | None:
    """What a structure is of another that it nearly is, in words; None where it is a stranger."""
    if not _same_elements(atoms, other):
        return None
    for shifted in _shifted(atoms, other):
        if matching_order(atoms, shifted, tolerance_A) is not None:
            return "it is one of them with a shifted origin: shift it back"
    if np.abs(_invariants(atoms) - _invariants(other)).max() <= 10.0 * tolerance_A:
        return (
            "it seems to be one of them, rotated or mirrored: its forces point elsewhere; give the "
            "label in the frame of the pick"
        )
    return None


def _same_elements(atoms: Atoms, other: Atoms) -> bool:
    return np.array_equal(np.sort(atoms.numbers), np.sort(other.numbers))


def _cell_difference(atoms: Atoms, other: Atoms) -> float:
    return float(np.abs(atoms.cell.array - other.cell.array).max())


def _shifted(atoms: Atoms, other: Atoms) -> list[Atoms]:
    """The other structure with atoms of the rarest kind in turn on the first atom of that kind."""
    if _cell_difference(atoms, other) > 1.0:
        return []
    kinds, counts = np.unique(atoms.numbers, return_counts=True)
    rarest = kinds[np.argmin(counts)]
    first = int(np.flatnonzero(atoms.numbers == rarest)[0])
    out = []
    for number in np.flatnonzero(other.numbers == rarest)[:MOST_SHIFTS]:
        moved = other.copy()
        moved.set_constraint()
        moved.positions += atoms.positions[first] - other.positions[number]
        out.append(moved)
    return out


def _invariants(atoms: Atoms) -> np.ndarray:
    """What no rotation, shift, order or choice of images changes: the metric, and distances."""
    lengths = np.sqrt(np.abs(atoms.cell.array @ atoms.cell.array.T)).ravel()
    distances = np.sort(atoms.get_all_distances(mic=bool(atoms.pbc.any())), axis=None)
    return np.concatenate([lengths, distances])


def _distances(atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
    return find_mic(vectors, atoms.cell, atoms.pbc)[1]
