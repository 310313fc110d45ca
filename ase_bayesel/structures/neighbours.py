"""Pairs of neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from scipy.spatial import cKDTree

BONDED = 1.3
"""Atoms closer than this many sums of their covalent radii are of one molecule."""
SKIN_A = 0.5
"""How much further than asked for a list reaches that is kept for the next structure."""
MARGIN_A = 1e-6
"""The same where it is made for one structure: more than rounding."""
KEPT_LISTS = 32
"""So many lists are kept: of each of some walkers that take turns, two."""
KEPT_ATOMS = 500
"""Beyond, a list costs little beside all else and takes much memory: none is kept."""


def neighbour_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within ``cutoff`` (A), images included, sorted by the first atom.

    Returns indices i ``(n,)`` and j ``(n,)`` and vectors from i to j ``(n, 3)``, A.
    Directions without periodicity may have any cell, also none, and any extent.
    """
    first, second, vectors, _ = pairs_within(atoms, cutoff)
    return first, second, vectors.T


class Pairs(NamedTuple):
    """Pairs of atoms, sorted by the first, the second and the cell that is crossed.

    Indices ``first (n,)`` and ``second (n,)``, ``vectors (3, n)`` from first to second and
    their ``lengths (n,)``, A.
    """

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    lengths: np.ndarray


def pairs_within(atoms: Atoms, cutoff: float) -> Pairs:
    """All pairs closer than ``cutoff`` (A), images included, the same whatever came before.

    Lists of structures that come again with small changes, as in MD, are kept with a skin, and
    tell which pairs there may be. Vectors, order and the choice of pairs follow from the
    structure alone, bit for bit.
    """
    return _candidates(atoms, cutoff).within(atoms, cutoff)


class Crossings(NamedTuple):
    """Pairs of atoms by the cells between them, for a model that makes the vectors itself.

    Indices ``first (n,)`` and ``second (n,)``; ``crossed (n, 3)``, how many cells the image of the
    second is away: a vector is ``r_second - r_first + crossed @ cell``; ``lengths (n,)``, A.
    """

    first: np.ndarray
    second: np.ndarray
    crossed: np.ndarray
    lengths: np.ndarray


def crossing_pairs(atoms: Atoms, cutoff: float) -> Crossings:
    """The pairs of `pairs_within`, in the same order."""
    pairs = _candidates(atoms, cutoff)
    near, _, lengths = pairs.near(atoms, cutoff)
    return Crossings(pairs.first[near], pairs.second[near], pairs.shifts[near], lengths[near])


class Candidates(NamedTuple):
    """Pairs that may be within a cutoff, in the order of `Pairs`, before their vectors are formed.

    Indices ``first (n,)`` and ``second (n,)``; a vector is ``r_second - r_first + offset`` with
    ``offsets (3, n)``, A.
    """

    first: np.ndarray
    second: np.ndarray
    offsets: np.ndarray


def candidate_pairs(atoms: Atoms, cutoff: float) -> Candidates:
    """All pairs of `pairs_within` and some that are further apart, for who selects them itself."""
    pairs = _candidates(atoms, cutoff)
    return Candidates(pairs.first, pairs.second, pairs.offsets(atoms.cell.array))


def fresh_pairs(atoms: Atoms, cutoff: float) -> Pairs:
    """`pairs_within` for a structure that comes once: no list is looked for or kept."""
    return _List(atoms, cutoff, MARGIN_A).within(atoms, cutoff)


class _List:
    """Pairs that may be within a cutoff as long as the atoms have not moved by half of the skin."""

    def __init__(self, atoms: Atoms, cutoff: float, skin: float) -> None:
        self.cutoff, self.skin = cutoff, skin
        self._positions, self._pbc = atoms.positions.copy(), atoms.pbc.copy()
        self._cell = atoms.cell.array.copy()
        self._dual = np.linalg.pinv(self._cell[self._pbc])
        first, second, shifts = _search(atoms, cutoff + skin, self._dual)
        order = _canonical_order(first * len(atoms) + second, shifts)
        self.first, self.second = first[order], second[order]
        self.shifts = shifts[order]
        self._offsets = self._crossed(self._cell)

    def offsets(self, cell: np.ndarray) -> np.ndarray:
        """`_crossed`, which is kept for the cell of the start."""
        return self._offsets if (cell == self._cell).all() else self._crossed(cell)

    def _crossed(self, cell: np.ndarray) -> np.ndarray:
        """Vectors ``(3, n)`` of the cells that are crossed; no row depends on the others."""
        x, y, z = self.shifts.T
        return np.stack([x * a + y * b + z * c for a, b, c in cell.T])

    @np.errstate(over="ignore")
    def moved(self, atoms: Atoms) -> float:
        """By how much (A) a distance may have changed since; infinite for other structures.

        The cell may be strained: what is left of the motion then counts in full, and the
        strain by the length of a pair just outside of the list.
        """
        if atoms.positions.shape != self._positions.shape:
            return np.inf
        moves = atoms.positions - self._positions
        strained = 0.0
        if (atoms.pbc != self._pbc).any():
            return np.inf
        cell = atoms.cell.array
        if (cell != self._cell).any():
            strain = self._dual @ (cell - self._cell)[self._pbc]
            moves = moves - self._positions @ strain
            strained = float(np.sqrt((strain * strain).sum())) * (self.cutoff + self.skin)
        moves *= moves
        return 2.0 * float(np.sqrt(moves.sum(axis=1).max(initial=0.0))) + strained

    def near(self, atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which pairs are closer than the cutoff; of all pairs vectors ``(3, n)`` and lengths."""
        positions = np.ascontiguousarray(atoms.positions.T)
        vectors = positions.take(self.second, axis=1)
        vectors -= positions.take(self.first, axis=1)
        vectors += self.offsets(atoms.cell.array)
        squares = vectors * vectors
        lengths = squares[0] + squares[1]
        lengths += squares[2]
        np.sqrt(lengths, out=lengths)
        return np.flatnonzero(lengths < cutoff), vectors, lengths

    def within(self, atoms: Atoms, cutoff: float) -> Pairs:
        """The pairs that are closer than the cutoff."""
        near, vectors, lengths = self.near(atoms, cutoff)
        if len(near) == len(lengths):
            return Pairs(self.first, self.second, vectors, lengths)
        return Pairs(
            self.first.take(near),
            self.second.take(near),
            vectors.take(near, axis=1),
            lengths.take(near),
        )


_kept: tuple[_List, ...] = ()
"""The last lists, that of the last miss first."""


def _candidates(atoms: Atoms, cutoff: float) -> _List:
    """A list that serves: one with a skin for a structure like one before, and kept then."""
    if len(atoms) > KEPT_ATOMS:
        return _List(atoms, cutoff, MARGIN_A)
    skin, replaced = MARGIN_A, None
    for old in _kept:
        if old.cutoff != cutoff:
            continue
        moved = old.moved(atoms)
        if moved < old.skin:
            return old
        if moved < 2.0 * SKIN_A and skin == MARGIN_A:  # here is the next one
            skin, replaced = SKIN_A, old if old.skin == MARGIN_A else None
    return _keep(_List(atoms, cutoff, skin), replaced)


def _keep(new: _List, replaced: _List | None) -> _List:
    """Keep a list, in place of another or of the oldest. None is changed, so threads may come."""
    global _kept
    _kept = (new, *(old for old in _kept if old is not replaced))[:KEPT_LISTS]
    return new


def _canonical_order(pair: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The order by the number of the pair of atoms and the cell that is crossed."""
    lowest = shifts.min(axis=0, initial=0.0)
    spread = shifts.max(axis=0, initial=0.0) - lowest + 1.0
    if float(pair.max(initial=0) + 1) * spread.prod() > 2.0**52:  # atoms far outside of the cell
        return np.lexsort((*shifts.T[::-1], pair))
    key = pair.astype(float)
    for axis in range(3):
        key = key * spread[axis] + (shifts[:, axis] - lowest[axis])
    return np.argsort(key, kind="stable")


def _search(
    atoms: Atoms, cutoff: float, dual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of all pairs within a cutoff, and the cells ``(n, 3)`` that they cross.

    ``dual`` is the pseudoinverse of the periodic cell vectors.
    """
    axes = np.flatnonzero(atoms.pbc)
    vectors = atoms.cell.array[axes]
    cells = np.floor(atoms.positions @ dual)
    home = atoms.positions - cells @ vectors
    if len(axes) == 3:
        first, second, crossed = neighbour_list(
            "ijS", positions=home, cell=vectors, pbc=atoms.pbc, cutoff=cutoff
        )
    else:
        first, second, crossed = _search_tree(home, vectors, dual, cutoff)
    shifts = np.zeros((len(first), 3))
    shifts[:, axes] = crossed + cells[first] - cells[second]
    return first, second, shifts


def _search_tree(
    home: np.ndarray, vectors: np.ndarray, dual: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`_search` for points near the home cell; cells are counted along the periodic axes alone."""
    n_atoms, n_axes = len(home), len(vectors)
    reach = np.ceil(1.0 + cutoff * np.linalg.norm(dual, axis=0)).astype(int)
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    shifts = np.stack(grid, axis=-1).reshape(-1, n_axes) if n_axes else np.zeros((1, 0), int)
    points = (home[None] + (shifts @ vectors)[:, None]).reshape(-1, 3)
    near = cKDTree(points).query_ball_point(home, cutoff, return_sorted=True)
    first = np.repeat(np.arange(n_atoms), [len(indices) for indices in near])
    second = np.concatenate([np.asarray(indices, int) for indices in near])
    itself = len(shifts) // 2 * n_atoms + first
    first, second = first[second != itself], second[second != itself]
    return first, second % n_atoms, shifts[second // n_atoms]
