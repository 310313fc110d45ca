"""Restraints: what they add to the energy of a structure at a step, and how a config names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from ase import Atoms
from pydantic import Field

from ...descriptors.base import Gradient
from ...errors import StructureError
from ...io.kinds import OneOf
from ...io.magnitudes import NonNegative
from ..ensembles import NPT, Ensemble
from ..moves import CellMove, Move
from ..schedules import CentreSchedule, value_at, values_of
from .variables import AnyVariable, CellAngle, CellLength
from .vectors import VariableValue


@dataclass(frozen=True)
class Restraint:
    """What restraints share: E = k / 2 x^2, with x how far a variable is beyond ``at``.

    See `Harmonic` for the fields.
    """

    kind: ClassVar[str]

    of: AnyVariable
    at: CentreSchedule
    k: NonNegative
    name: Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.k < np.inf:
            raise ValueError(f"k: must be finite and not negative, got {self.k}")
        if not np.isfinite(values_of(self.at)).all():
            raise ValueError(f"at: must be finite, got {self.at}")

    @property
    def called(self) -> str:
        """What a record calls the variable."""
        return self.of.name if self.name is None else self.name

    def pull(self, value: float, step: int) -> float:
        """k x at a value of the variable: the derivative of the energy by it.

        Parameters
        ----------
        value
            In A, rad or no unit.
        step
            Since the walker left its start.
        """
        apart = value - value_at(self.at, step) * self.of.unit
        if self.of.closes:
            apart = (apart + np.pi) % (2 * np.pi) - np.pi
        return self.k * self._beyond(apart)

    def _beyond(self, apart: float) -> float:
        """x, from the distance of the value to ``at``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Harmonic(Restraint):
    """A spring that holds a variable, or takes it along: ``at`` as a ramp is a moving restraint.

    A dihedral is pulled the shorter way round.

    Attributes
    ----------
    of
        The variable.
    at
        Where it is to be (A, degrees or no unit); a ramp ``[[step, value], ...]`` moves that, with
        steps from where the walker last left its start.
    k
        Stiffness: eV per A^2, per rad^2 (of angles) or, of a coordination, eV.
    name
        What a record calls the variable; null for its own name, as ``distance_0_3``.
    flat
        Within this distance of ``at`` (A, degrees or no unit) nothing pulls.
    """

    kind: ClassVar[str] = "harmonic"

    flat: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flat < np.inf:
            raise ValueError(f"flat: must be finite and not negative, got {self.flat}")

    def _beyond(self, apart: float) -> float:
        return float(np.copysign(max(abs(apart) - self.flat * self.of.unit, 0.0), apart))


@dataclass(frozen=True)
class _Wall(Restraint):
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of.closes:
            raise ValueError(
                f"{self.kind}: a {self.of.kind} comes round from the other side; use kind: "
                "harmonic with flat, half the width of what is allowed"
            )


@dataclass(frozen=True)
class UpperWall(_Wall):
    """A spring that pulls a variable back where it is above ``at``; of no dihedral.

    Attributes
    ----------
    of, at, k, name
        As of `Harmonic`.
    """

    kind: ClassVar[str] = "wall_upper"

    def _beyond(self, apart: float) -> float:
        return max(apart, 0.0)


@dataclass(frozen=True)
class LowerWall(_Wall):
    """A spring that pulls a variable back where it is below ``at``; of no dihedral.

    Attributes
    ----------
    of, at, k, name
        As of `Harmonic`.
    """

    kind: ClassVar[str] = "wall_lower"

    def _beyond(self, apart: float) -> float:
        return min(apart, 0.0)


RESTRAINTS: tuple[type, ...] = (Harmonic, UpperWall, LowerWall)
"""What a config can name by its kind."""
AnyRestraint = Annotated[Restraint, OneOf(RESTRAINTS)]
"""A restraint, as a config describes it."""


class RestraintReport(NamedTuple):
    """What restraints did at a step.

    ``energy`` is what they added, eV; ``values`` are those of the variables by their names, in A,
    degrees or no unit.
    """

    energy: float
    values: dict[str, float]


class Effect(NamedTuple):
    """A report, and the gradient of its energy."""

    report: RestraintReport
    gradient: Gradient


def effect_of(restraints: Sequence[Restraint], atoms: Atoms, step: int) -> Effect:
    """What restraints add to the energy of a structure.

    Parameters
    ----------
    restraints
        They add up.
    atoms
        The structure.
    step
        Since the walker left its start.

    Raises
    ------
    StructureError
        Where a variable has no gradient.
    """
    energy, values = 0.0, dict[str, float]()
    positions, strain = np.zeros((len(atoms), 3)), np.zeros(6)
    known: dict[str, VariableValue] = {}
    for restraint in restraints:
        name = restraint.called
        if name not in known:
            known[name] = restraint.of.evaluate(atoms)
            values[name] = known[name].value / restraint.of.unit
        value, gradient = known[name]
        pull = restraint.pull(value, step)
        if pull:
            energy += pull**2 / (2 * restraint.k)
            positions += pull * gradient.positions
            strain += pull * gradient.strain
    return Effect(RestraintReport(energy, values), Gradient(positions, strain))


def check_restraints(
    restraints: Sequence[Restraint],
    ensemble: Ensemble,
    moves: Sequence[Move],
    atoms: Atoms,
    where: str,
) -> None:
    """Raise a `StructureError` if restraints do not suit atoms, or what moves them.

    Parameters
    ----------
    restraints, ensemble, moves
        What the atoms are to be moved by.
    atoms
        The start.
    where
        With what the error begins.
    """
    known = {restraint.called: restraint.of for restraint in restraints}
    lengths, angles = _varied(ensemble, moves)
    for restraint in restraints:
        if known[restraint.called] != restraint.of:
            raise StructureError(
                f"{where}: two restraints are called {restraint.called}; give them names"
            )
        try:
            restraint.of.check(atoms)
        except StructureError as error:
            raise StructureError(f"{where}: restraint {error}") from None
        match restraint.of:
            case CellLength(vector):
                varies = lengths[vector]
            case CellAngle():
                varies = angles
            case _:
                continue
        if not varies:
            raise StructureError(
                f"{where}: restraint {restraint.called}: nothing varies it; use NPT or a cell "
                "move, for an angle with full freedom of the cell"
            )


def _varied(ensemble: Ensemble, moves: Sequence[Move]) -> tuple[tuple[bool, ...], bool]:
    """Which lengths of cell vectors vary, and whether their angles do."""
    lengths, angles = (False, False, False), False
    if isinstance(ensemble, NPT):
        lengths = ensemble.axes if ensemble.cell == "axes" else (True, True, True)
        angles = ensemble.cell == "full"
    for move in moves:
        if isinstance(move, CellMove):
            lengths, angles = (True, True, True), angles or move.shape == "full"
    return lengths, angles
