"""Collective variables: numbers that tell a state of a structure, with their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import numpy as np
from ase import Atoms
from pydantic import Field

from ...errors import StructureError
from ...io.fields import Several
from ...io.kinds import OneOf
from ...io.magnitudes import Cutoff, Index
from .vectors import Slope, VariableValue, angle_of, cross, nearest_vectors, of_cell, of_pairs

DEGREE = np.pi / 180.0
"""rad."""
Group = tuple[Index, ...] | str
"""Atoms, by their numbers from 0 or by one chemical symbol."""


class Variable(Protocol):
    """A number that follows from a structure.

    ``unit`` is one unit of what a config and a record say (A, degrees) in those of `evaluate`.
    A variable that ``closes`` comes back to the same state after 360 degrees. ``name`` is what a
    record calls it.
    """

    kind: ClassVar[str]
    unit: ClassVar[float]
    closes: ClassVar[bool]

    @property
    def name(self) -> str:
        """As ``distance_0_3``."""
        ...

    def check(self, atoms: Atoms) -> None:
        """Raise a `StructureError` if these atoms have no such variable."""
        ...

    def evaluate(self, atoms: Atoms) -> VariableValue:
        """The value and its gradient; a `StructureError` where there is no gradient."""
        ...


@dataclass(frozen=True)
class _Chain:
    """A variable of some atoms in a row, by the vectors from each to the next one."""

    kind: ClassVar[str]
    unit: ClassVar[float] = 1.0
    closes: ClassVar[bool] = False
    length: ClassVar[int]

    atoms: tuple[Index, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "atoms", tuple(self.atoms))
        if len(self.atoms) != self.length or len(set(self.atoms)) < self.length:
            raise ValueError(
                f"{self.kind}: atoms: expected {self.length} different atoms, got {self.atoms}"
            )

    @property
    def name(self) -> str:
        """The kind and the atoms."""
        return "_".join([self.kind, *map(str, self.atoms)])

    def check(self, atoms: Atoms) -> None:
        """Raise a `StructureError` if one of the atoms is not there."""
        _check_numbers(self.name, self.atoms, atoms)

    def evaluate(self, atoms: Atoms) -> VariableValue:
        """The value and its gradient.

        Raises
        ------
        StructureError
            If two atoms coincide, or three of a dihedral are in a line.
        """
        first, second = np.array(self.atoms[:-1]), np.array(self.atoms[1:])
        vectors = nearest_vectors(atoms, first, second)
        with np.errstate(all="ignore"):
            slope = self._slope(vectors)
        if not np.isfinite(slope.by_vectors).all():
            raise StructureError(
                f"{self.name}: has no gradient here; its atoms coincide or are in a line"
            )
        return of_pairs(atoms, first, second, vectors, slope)

    def _slope(self, vectors: np.ndarray) -> Slope:
        raise NotImplementedError


@dataclass(frozen=True)
class Distance(_Chain):
    """The distance (A) of two atoms, by their nearest images.

    Attributes
    ----------
    atoms
        Numbers of the two, from 0.
    """

    kind: ClassVar[str] = "distance"
    length: ClassVar[int] = 2

    def _slope(self, vectors: np.ndarray) -> Slope:
        length = np.linalg.norm(vectors)
        return Slope(float(length), vectors / length)


@dataclass(frozen=True)
class Angle(_Chain):
    """The angle (degrees) at the second of three atoms, from 0 to 180.

    Attributes
    ----------
    atoms
        Numbers of the three, from 0.
    """

    kind: ClassVar[str] = "angle"
    unit: ClassVar[float] = DEGREE
    length: ClassVar[int] = 3

    def _slope(self, vectors: np.ndarray) -> Slope:
        value, by_vectors = angle_of(-vectors[0], vectors[1])
        return Slope(value, by_vectors * np.array([[-1.0], [1.0]]))


@dataclass(frozen=True)
class Dihedral(_Chain):
    """The dihedral angle (degrees) of four atoms, from 0 to 360, as ASE has it.

    Attributes
    ----------
    atoms
        Numbers of the four in a row, from 0.
    """

    kind: ClassVar[str] = "dihedral"
    unit: ClassVar[float] = DEGREE
    closes: ClassVar[bool] = True
    length: ClassVar[int] = 4

    def _slope(self, vectors: np.ndarray) -> Slope:
        a, b, c = vectors
        before, after, axis = cross(a, b), cross(b, c), np.linalg.norm(b)
        value = np.arctan2(axis * (a @ after), before @ after)
        # each divided by its squared length, as Blondel and Karplus (1996) have them
        before, after = before / (before @ before), after / (after @ after)
        middle = -((a @ b) * before + (c @ b) * after) / axis
        slopes = np.stack([axis * before, middle, axis * after])
        return Slope(float(value % (2 * np.pi)), slopes)


@dataclass(frozen=True)
class Coordination:
    """How many neighbours some atoms have, all together: a sum of 1 / (1 + (r / r0)^power).

    With the nearest images alone, so that the cell has to be some times wider than ``r0``. The
    default is what PLUMED has with its exponents 6 and 12.

    Attributes
    ----------
    atoms
        Whose neighbours are counted: numbers from 0, or a chemical symbol.
    neighbours
        The atoms that count as neighbours: numbers from 0, or a chemical symbol. No atom is its
        own neighbour.
    r0
        The distance (A) at which a neighbour counts half: between the first two shells.
    power
        How sharply neighbours are told from other atoms.
    """

    kind: ClassVar[str] = "coordination"
    unit: ClassVar[float] = 1.0
    closes: ClassVar[bool] = False

    atoms: Annotated[Group, Several]
    neighbours: Annotated[Group, Several]
    r0: Cutoff
    power: Annotated[int, Field(ge=2, le=48)] = 6

    def __post_init__(self) -> None:
        for key in ("atoms", "neighbours"):
            group = getattr(self, key)
            if not isinstance(group, str):
                object.__setattr__(self, key, tuple(group))
            if not isinstance(group, str) and len(set(group)) < len(group):
                raise ValueError(f"{self.kind}: {key}: an atom is named twice")
        if not self.r0 > 0 or not 2 <= self.power <= 48:
            raise ValueError(f"{self.kind}: r0 must be positive and power within 2 and 48")

    @property
    def name(self) -> str:
        """The kind and both groups."""
        groups = ((g,) if isinstance(g, str) else g for g in (self.atoms, self.neighbours))
        return "_".join([self.kind, *(str(entry) for group in groups for entry in group)])

    def check(self, atoms: Atoms) -> None:
        """Raise a `StructureError` if an atom is not there, or no pair is left."""
        for group in (self.atoms, self.neighbours):
            if not isinstance(group, str):
                _check_numbers(self.name, group, atoms)
        if not len(self._pairs(atoms)[0]):
            raise StructureError(f"{self.name}: there is no pair of such atoms")

    def evaluate(self, atoms: Atoms) -> VariableValue:
        """The value and its gradient; a `StructureError` where two of the atoms coincide."""
        first, second = self._pairs(atoms)
        vectors = nearest_vectors(atoms, first, second)
        lengths = np.linalg.norm(vectors, axis=1)
        if not lengths.all():
            raise StructureError(f"{self.name}: has no gradient here; two atoms coincide")
        powers = (lengths / self.r0) ** self.power
        counts = 1.0 / (1.0 + powers)
        slopes = -self.power * powers * counts**2 / lengths**2
        slope = Slope(float(counts.sum()), slopes[:, None] * vectors)
        return of_pairs(atoms, first, second, vectors, slope)

    def _pairs(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
        groups = (_members(group, atoms) for group in (self.atoms, self.neighbours))
        first, second = (grid.ravel() for grid in np.meshgrid(*groups, indexing="ij"))
        return first[first != second], second[first != second]


@dataclass(frozen=True)
class CellLength:
    """The length (A) of a cell vector.

    Attributes
    ----------
    vector
        Its number: 0, 1 or 2.
    """

    kind: ClassVar[str] = "cell_length"
    unit: ClassVar[float] = 1.0
    closes: ClassVar[bool] = False

    vector: Annotated[int, Field(ge=0, le=2)]

    @property
    def name(self) -> str:
        """The kind and the vector."""
        return f"{self.kind}_{self.vector}"

    def check(self, atoms: Atoms) -> None:
        """Raise a `StructureError` unless there are three periodic directions."""
        _check_cell(self.name, atoms)

    def evaluate(self, atoms: Atoms) -> VariableValue:
        """The value and its gradient."""
        vector = atoms.cell.array[self.vector]
        length = float(np.linalg.norm(vector))
        return of_cell(atoms, vector[None], Slope(length, vector[None] / length))


@dataclass(frozen=True)
class CellAngle:
    """The angle (degrees) between two cell vectors.

    Attributes
    ----------
    vectors
        Their numbers, as ``[0, 1]``.
    """

    kind: ClassVar[str] = "cell_angle"
    unit: ClassVar[float] = DEGREE
    closes: ClassVar[bool] = False

    vectors: tuple[Annotated[int, Field(ge=0, le=2)], Annotated[int, Field(ge=0, le=2)]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", tuple(self.vectors))
        if len(set(self.vectors)) != 2:
            raise ValueError(f"{self.kind}: vectors: expected two different, got {self.vectors}")

    @property
    def name(self) -> str:
        """The kind and the vectors."""
        return f"{self.kind}_{self.vectors[0]}_{self.vectors[1]}"

    def check(self, atoms: Atoms) -> None:
        """Raise a `StructureError` unless there are three periodic directions."""
        _check_cell(self.name, atoms)

    def evaluate(self, atoms: Atoms) -> VariableValue:
        """The value and its gradient."""
        vectors = atoms.cell.array[list(self.vectors)]
        return of_cell(atoms, vectors, angle_of(*vectors))


VARIABLES: tuple[type, ...] = (Distance, Angle, Dihedral, Coordination, CellLength, CellAngle)
"""What a config can name by its kind."""
AnyVariable = Annotated[Variable, OneOf(VARIABLES)]
"""A variable, as a config describes it."""


def _members(group: Group, atoms: Atoms) -> np.ndarray:
    """Numbers of the atoms of a group."""
    if isinstance(group, str):
        return np.flatnonzero(np.array(atoms.get_chemical_symbols()) == group)
    return np.array(group)


def _check_numbers(name: str, numbers: tuple[int, ...], atoms: Atoms) -> None:
    missing = [number for number in numbers if not 0 <= number < len(atoms)]
    if missing:
        raise StructureError(
            f"{name}: there is no atom {missing[0]}; the {len(atoms)} atoms have the numbers from 0"
        )


def _check_cell(name: str, atoms: Atoms) -> None:
    if not atoms.pbc.all():
        raise StructureError(f"{name}: needs three periodic directions")
