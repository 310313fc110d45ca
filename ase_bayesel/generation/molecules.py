"""A recipe for structures of several molecules: each is shifted and turned as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pydantic import Field
from scipy.spatial.transform import Rotation

from ..io.fields import Several
from ..io.magnitudes import Count, Displacement, DisplacementOrNone
from ..structures.neighbours import BONDED, neighbour_pairs
from .recipe import Candidate, Context, Recipe, Rejected, derived

SAME_A = 1e-3
"""Bonds that close a ring agree within this."""
MOST_DEGREES = 60.0
Bonds = list[tuple[int, np.ndarray]]
"""Of one atom: the other ones, and the vectors to them (A)."""


class Molecule(NamedTuple):
    """Atoms that hang together by bonds.

    ``members (n,)`` numbers of the atoms, ``points (n, 3)`` their positions as one piece, across
    the edges of the cell (A); ``endless`` where it goes on for ever, as a crystal does.
    """

    members: np.ndarray
    points: np.ndarray
    endless: bool


def molecules(atoms: Atoms) -> list[Molecule]:
    """The molecules of a structure, by their first atoms."""
    radii = covalent_radii[atoms.numbers]
    first, second, vectors = neighbour_pairs(atoms, 2.0 * BONDED * float(radii.max()))
    bonded = np.linalg.norm(vectors, axis=1) < BONDED * (radii[first] + radii[second])
    bonds: list[Bonds] = [[] for _ in atoms]
    for i, j, vector in zip(first[bonded], second[bonded], vectors[bonded], strict=True):
        bonds[i].append((int(j), vector))
        bonds[j].append((int(i), -vector))
    seen: set[int] = set()
    found = []
    for root in range(len(atoms)):
        if root not in seen:
            found.append(_from(root, atoms.positions[root], bonds))
            seen |= {*found[-1].members.tolist()}
    return found


def _from(root: int, point: np.ndarray, bonds: Sequence[Bonds]) -> Molecule:
    """The molecule of an atom, walked through from bond to bond."""
    places, waiting, endless = {root: point}, [root], False
    while waiting:
        atom = waiting.pop()
        for other, vector in bonds[atom]:
            place = places[atom] + vector
            if other not in places:
                places[other] = place
                waiting.append(other)
            endless |= bool(np.abs(places[other] - place).max() > SAME_A)
    members = np.array(sorted(places))
    return Molecule(members, np.array([places[k] for k in members.tolist()]), endless)


def loose_molecules(atoms: Atoms) -> list[Molecule]:
    """Those of several molecules that can move: they end, and no constraint holds an atom."""
    found = molecules(atoms)
    if len(found) < 2:
        return []
    held = {int(k) for c in atoms.constraints for k in np.atleast_1d(c.get_indices())}
    return [one for one in found if not one.endless and held.isdisjoint(one.members.tolist())]


@dataclass(frozen=True)
class MoveMolecules(Recipe):
    """Molecules shifted and turned as wholes about their centres; then all atoms are displaced.

    Parts that go on for ever, as a slab does, and molecules with an atom in a constraint stay.

    Attributes
    ----------
    shifts_A
        Standard deviations of the shift along each axis (A).
    turn_degrees
        Standard deviation of the rotation about each axis for a shift of 0.1 A; it grows with
        the shift, to 60 degrees.
    rattle_A
        Standard deviation of each coordinate of all atoms afterwards (A).
    copies
        Frames of each shift.
    """

    kind: ClassVar[str] = "molecules"

    shifts_A: Annotated[tuple[Displacement, ...], Several] = (0.1, 0.2, 0.4)
    turn_degrees: Annotated[float, Field(ge=0, le=180)] = 5.0
    rattle_A: DisplacementOrNone = 0.02
    copies: Count = 1
    name = "molecules"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return len(self.shifts_A) * self.copies

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Copies of the start with its molecules elsewhere."""
        loose = loose_molecules(start)
        for shift in self.shifts_A:
            angle = np.deg2rad(min(self.turn_degrees * shift / 0.1, MOST_DEGREES))
            for _ in range(self.copies):
                if not loose:
                    yield Rejected("no_molecules")
                    continue
                moved = start.copy()
                for one in loose:
                    moved.positions[one.members] = _elsewhere(one.points, shift, angle, rng)
                moved.rattle(self.rattle_A, rng=rng)
                yield derived(moved, start, self.name, shift_A=shift)


def _elsewhere(
    points: np.ndarray, shift: float, angle: float, rng: np.random.Generator
) -> np.ndarray:
    """Points ``(n, 3)`` turned about their centre (rad) and shifted (A), by random amounts."""
    centre = points.mean(axis=0)
    turn = Rotation.from_rotvec(rng.normal(0.0, angle, 3))
    turned: np.ndarray = turn.apply(points - centre)
    return centre + turned + rng.normal(0.0, shift, 3)
