"""Cells that a calculation can pay, cut out of a large one around an atom.

The cut-out goes to a label in place of the large structure. Only atoms whose surroundings are as
they were there are worth a label, see `labels.WHOLE`: near the junction it is another structure.
Periodic cut-outs as Hodapp and Shapeev, Mach. Learn.: Sci. Technol. 1 (2020) 045005, make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import complete_cell
from pydantic import Field

from ..errors import StructureError
from ..io.magnitudes import Cutoff, Fraction, Length, LengthOrNone
from .electronic import USUAL, electronic_state
from .identity import states_of
from .labels import WHOLE
from .neighbours import Pairs, fresh_pairs

SAME_A = 1e-6
"""Neighbours that differ by no more are the same."""
EDGES = 9
"""So many lengths of an edge are tried ..."""
SWEEPS = 2
"""... for each edge in turn, so many times over."""
SHELL = 1.8
"""Neighbours within so many times the smallest distance make up the density at an atom."""


class Environment(NamedTuple):
    """What was cut out: ``atoms``, of which ``indices (n,)`` are the numbers in the structure.

    The centre comes first and the farthest atom last.
    """

    atoms: Atoms
    indices: np.ndarray


@dataclass(frozen=True)
class CutOut:
    """How the environment of an atom is cut out of a structure.

    ``periodic`` takes a box with faces parallel to those of the cell around the atom, and closes it
    along the directions that are periodic in the structure. Edges may be longer than asked for by
    up to ``stretch``: those are taken with which the densities around atoms are nearest to those in
    the structure, about whole numbers of lattice planes in a crystal. Of atoms that come too
    close to each other across the junction the farther one is left out; where both are within
    ``reach_A`` of the centre, edges are longer still. Directions in which the structure is no
    larger than the box stay as they are. ``cluster`` takes a sphere, in vacuum.

    Attributes
    ----------
    size_A
        Smallest distance of opposite faces of the box, or diameter of the sphere, A.
    method
        The way.
    reach_A
        An atom is whole, and its force a label, if the atoms within this distance (A) are those of
        the structure. With the cutoff of the features its own features are as they were there; with
        twice the cutoff those of its neighbours too, and the force that the model gives it. Of
        message passing the cutoff is that of all layers together. None for the cutoff of linear
        ACE.
    stretch
        Share by which edges may be longer.
    closest
        Share of the smallest distance of their elements in the structure at which atoms may meet
        across the junction.
    vacuum_A
        Around a cluster, and beyond faces that are not periodic, A.
    """

    size_A: Length
    method: Literal["periodic", "cluster"] = "periodic"
    reach_A: Cutoff | None = None
    stretch: Annotated[float, Field(ge=0, le=10)] = 0.15
    closest: Fraction = 0.85
    vacuum_A: LengthOrNone = 6.0

    def __post_init__(self) -> None:
        if self.reach_A is not None and self.size_A < 2 * self.reach_A:
            raise ValueError(
                f"size_A: in {self.size_A:g} A no atom has all around it that is within reach_A, "
                f"{self.reach_A:g} A; take at least twice as much"
            )

    def cut(self, atoms: Atoms, centre: int, where: str = "structure") -> Environment:
        """The environment of an atom, with the array `WHOLE`.

        A structure that is no larger comes back as it is, without the array: all of its labels
        count. Momenta, constraints and a calculator are not taken along.

        Parameters
        ----------
        atoms
            The structure.
        centre
            The atom's number.
        where
            What an error begins with.

        Raises
        ------
        StructureError
            For a structure that is charged or of an unusual multiplicity, which say nothing of its
            parts, and for a cluster out of a periodic cell that is too narrow.
        ValueError
            Without a ``reach_A``.
        """
        if self.reach_A is None:
            raise ValueError("reach_A: must be given")
        if electronic_state(atoms) != USUAL:
            raise StructureError(
                f"{where}: has {electronic_state(atoms)}, which says nothing of a part of it; only "
                "neutral structures of the usual multiplicity can be cut"
            )
        frame, pairs = _Frame.of(atoms, centre), fresh_pairs(atoms, self.reach_A + 2 * SAME_A)
        if self.method == "cluster":
            cut, indices = self._sphere(atoms, frame, where)
        else:
            cut, indices = self._box(atoms, frame, pairs)
        if len(cut) == len(atoms):
            return Environment(_part(atoms, np.arange(len(atoms))), np.arange(len(atoms)))
        cut.set_array(WHOLE, _whole(cut, atoms, indices, pairs, self.reach_A))
        return Environment(cut, indices)

    def _sphere(self, atoms: Atoms, frame: _Frame, where: str) -> tuple[Atoms, np.ndarray]:
        if (frame.heights[atoms.pbc] < self.size_A).any():
            raise StructureError(
                f"{where}: is periodic and narrower than a cluster of {self.size_A:g} A; take "
                "method: periodic, or a smaller size_A"
            )
        indices = frame.from_the_centre(frame.distances <= self.size_A / 2)
        edge = self.size_A + 2 * self.vacuum_A
        cut = _part(atoms, indices)
        cut.pbc = False
        cut.set_cell(np.eye(3) * edge)
        cut.positions = frame.vectors[indices] + edge / 2
        return cut, indices

    def _box(self, atoms: Atoms, frame: _Frame, pairs: Pairs) -> tuple[Atoms, np.ndarray]:
        """The box whose atoms have densities around them most like those in the structure."""
        assert self.reach_A is not None
        longest = self.size_A * (1.0 + self.stretch)
        limits = _Limits.of(atoms, pairs, self.closest)
        free = atoms.pbc & (frame.heights > longest + 2 * limits.margin_A)
        shell_A = max(limits.largest_A, SHELL * limits.largest_A / self.closest)
        there = _densities(fresh_pairs(atoms, shell_A), shell_A, np.ones(len(atoms), bool))
        opened = ~atoms.pbc & (frame.heights > longest)
        heights = np.where(free | opened, self.size_A, frame.heights)

        def made(heights: np.ndarray) -> tuple[tuple[int, float], Atoms, np.ndarray]:
            assert self.reach_A is not None
            margins = np.where(free, limits.margin_A, 0.0)
            cut, indices = self._closed(atoms, frame, heights, free | opened, margins)
            near = fresh_pairs(cut, max(shell_A, self.reach_A + 2 * SAME_A))
            own = frame.distances[indices] <= self.reach_A
            # what the junction brings into the centre's reach
            foreign = near.second[(near.first == 0) & (near.lengths <= self.reach_A + 2 * SAME_A)]
            foreign = foreign[~own[foreign]]
            found = _closer(near, shell_A)
            kept, n_close = limits.apart(cut, found, own, foreign)
            off = (_densities(found, shell_A, kept) - there[indices])[kept]
            return (n_close, float(np.abs(off).mean())), cut[kept], indices[kept]

        best = made(heights)
        for axis in [*np.flatnonzero(free)] * SWEEPS:
            heights_tried = np.unique(np.linspace(self.size_A, longest, EDGES))
            for height in heights_tried[heights_tried != heights[axis]]:
                tried = heights.copy()
                tried[axis] = height
                if (other := made(tried))[0] < best[0]:
                    best, heights = other, tried
        if best[0][0]:
            wide = np.maximum(heights, 2 * self.reach_A + limits.largest_A)
            best = made(np.where(free, np.minimum(wide, frame.heights), heights))
        return best[1], best[2]

    def _closed(
        self,
        atoms: Atoms,
        frame: _Frame,
        heights: np.ndarray,
        bounded: np.ndarray,
        margins: np.ndarray,
    ) -> tuple[Atoms, np.ndarray]:
        """A box of these heights along ``bounded`` directions, whose atoms may lie in a margin."""
        inside = np.abs(frame.along) <= heights / 2 + margins
        indices = frame.from_the_centre((inside | ~bounded).all(axis=1))
        edges = heights + np.where(atoms.pbc, 0.0, 2 * self.vacuum_A)
        cut = _part(atoms, indices)
        cut.set_cell((edges / frame.heights)[:, None] * frame.cell)
        parts = frame.along[indices] / edges
        middle = (parts.max(axis=0) + parts.min(axis=0)) / 2
        cut.set_scaled_positions(parts + 0.5 - np.where(atoms.pbc, 0.0, middle))
        return cut, indices


class _Frame(NamedTuple):
    """A structure around one of its atoms.

    ``cell (3, 3)`` with vectors along all directions; ``heights (3,)`` between its faces, without
    periodicity the extent of the atoms; ``along (n, 3)`` distances from the centre along the
    normals of the faces, and ``vectors (n, 3)`` from it, of the nearest images; all in A.
    """

    cell: np.ndarray
    heights: np.ndarray
    along: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms, centre: int) -> _Frame:
        cell = atoms.cell.array.copy()
        cell[~atoms.pbc] = 0.0
        cell = np.asarray(complete_cell(cell))
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        parts = (atoms.positions - atoms.positions[centre]) @ np.linalg.inv(cell)
        parts -= np.where(atoms.pbc, np.round(parts), 0.0)
        along, vectors = parts * heights, parts @ cell
        extent = np.maximum(np.ptp(along, axis=0), SAME_A)
        cell[~atoms.pbc] *= (extent / heights)[~atoms.pbc, None]
        return cls(cell, np.where(atoms.pbc, heights, extent), along, vectors)

    @property
    def distances(self) -> np.ndarray:
        """``(n,)`` from the centre."""
        return np.linalg.norm(self.vectors, axis=1)

    def from_the_centre(self, chosen: np.ndarray) -> np.ndarray:
        """Numbers of the atoms that are chosen, the nearest first."""
        order = np.argsort(self.distances, kind="stable")
        return order[chosen[order]]


class _Limits(NamedTuple):
    """How close atoms may come: ``matrix`` by places of elements in ``numbers``.

    ``margin_A`` is half of the smallest distance in the structure.
    """

    numbers: np.ndarray
    matrix: np.ndarray
    margin_A: float

    @classmethod
    def of(cls, atoms: Atoms, pairs: Pairs, share: float) -> _Limits:
        """By the smallest distances among pairs; those of covalent radii where there is none."""
        numbers, place = np.unique(atoms.numbers, return_inverse=True)
        radii = covalent_radii[numbers]
        smallest = np.full((len(numbers), len(numbers)), np.inf)
        np.minimum.at(smallest, (place[pairs.first], place[pairs.second]), pairs.lengths)
        smallest = np.where(np.isinf(smallest), radii[:, None] + radii, smallest)
        return cls(numbers, share * smallest, float(smallest.min()) / 2)

    @property
    def largest_A(self) -> float:
        return float(self.matrix.max())

    def apart(
        self, cut: Atoms, pairs: Pairs, kept: np.ndarray, foreign: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Which atoms stay, nearest first, and how many pairs of ``kept`` ones are too close.

        The atoms of the numbers ``foreign`` do not.
        """
        place = np.searchsorted(self.numbers, cut.numbers)
        first, second, _, lengths = pairs
        close = lengths < self.matrix[place[first], place[second]]
        first, second = first[close], second[close]
        stays = np.ones(len(cut), bool)
        stays[foreign] = False
        for k in np.unique(first[~kept[first]]):
            others = second[first == k]
            stays[k] &= not stays[others[(others < k) | kept[others]]].any()
        return stays, int((kept[first] & kept[second]).sum()) // 2


def _closer(pairs: Pairs, length_A: float) -> Pairs:
    """Those pairs that are closer than a length."""
    close = pairs.lengths < length_A
    return Pairs(*(part[..., close] for part in pairs))


def _densities(pairs: Pairs, range_A: float, kept: np.ndarray) -> np.ndarray:
    """``(n,)`` sums over neighbours of (1 - (r / range)^2)^2, of the atoms that are kept."""
    weights = (1.0 - (pairs.lengths / range_A) ** 2) ** 2 * kept[pairs.second]
    return np.bincount(pairs.first, weights, minlength=len(kept))


def _part(atoms: Atoms, indices: np.ndarray) -> Atoms:
    """Some atoms of a structure, in this order: elements, tags and initial states alone."""
    part = Atoms(
        numbers=atoms.numbers[indices],
        positions=atoms.positions[indices],
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        tags=atoms.get_tags()[indices],
    )
    for name, state in states_of(atoms).items():
        part.set_array(name, state[indices])
    return part


def _whole(
    cut: Atoms, atoms: Atoms, indices: np.ndarray, pairs: Pairs, reach_A: float
) -> np.ndarray:
    """``(n,)`` which atoms of a cut-out have the neighbours that they have in the structure."""
    found = fresh_pairs(cut, reach_A + 2 * SAME_A)
    ours = np.searchsorted(found.first, np.arange(len(cut) + 1))
    theirs = np.searchsorted(pairs.first, np.arange(len(atoms) + 1))
    whole = np.zeros(len(cut), bool)
    for k, number in enumerate(indices):
        one, other = slice(ours[k], ours[k + 1]), slice(theirs[number], theirs[number + 1])
        apart = found.vectors[:, one, None] - pairs.vectors[:, None, other]
        same = (apart**2).sum(axis=0) <= SAME_A**2
        same &= cut.numbers[found.second[one]][:, None] == atoms.numbers[pairs.second[other]]
        near, near_there = found.lengths[one] <= reach_A, pairs.lengths[other] <= reach_A
        whole[k] = same[near].any(axis=1).all() and same[:, near_there].any(axis=0).all()
    return whole
