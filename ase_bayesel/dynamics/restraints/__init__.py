"""Restraints on collective variables, which take a walker where its bias alone does not go soon.

They act on the energy that the walker moves on, and on nothing else: predictions, triggers,
picks and labels know nothing of them.
"""

from .calculator import RestrainedCalculator
from .kinds import (
    RESTRAINTS,
    AnyRestraint,
    Harmonic,
    LowerWall,
    Restraint,
    RestraintReport,
    UpperWall,
    check_restraints,
)
from .variables import (
    VARIABLES,
    Angle,
    CellAngle,
    CellLength,
    Coordination,
    Dihedral,
    Distance,
    Variable,
)

__all__ = [
    "RESTRAINTS",
    "VARIABLES",
    "Angle",
    "AnyRestraint",
    "CellAngle",
    "CellLength",
    "Coordination",
    "Dihedral",
    "Distance",
    "Harmonic",
    "LowerWall",
    "RestrainedCalculator",
    "Restraint",
    "RestraintReport",
    "UpperWall",
    "Variable",
    "check_restraints",
]
