"""Numbers of a config: each kind with what can be asked for, from the smallest to the largest.

Every number that a config takes has a least and a greatest value, so that what is valid can also
be computed with. A field takes the kind that says what it is. To whoever makes a class in Python
these annotations say nothing but the type.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .fields import NumberOrWord

THOUSAND, MILLION, BILLION, TRILLION = 10**3, 10**6, 10**9, 10**12

Threads = Annotated[int, Field(ge=1, le=1024)]
Workers = Annotated[int, Field(ge=1, le=10_000)]
Count = Annotated[int, Field(ge=1, le=MILLION)]
"""Of what a machine has, or is asked to make."""
Members = Annotated[int, Field(ge=2, le=10_000)]
"""Of a committee."""
Repeats = Annotated[int, Field(ge=1, le=THOUSAND)]
"""Of a cell along a vector, or of layers."""
Points = Annotated[int, Field(ge=1, le=THOUSAND)]
"""Of a grid along a vector of the reciprocal cell."""
Miller = Annotated[int, Field(ge=-THOUSAND, le=THOUSAND)]
Index = Annotated[int, Field(ge=0, le=BILLION)]
"""Of an atom, from 0."""
Steps = Annotated[int, Field(ge=1, le=TRILLION)]
"""Of molecular dynamics."""
StepsOrNone = Annotated[int, Field(ge=0, le=TRILLION)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

Positive = Annotated[float, Field(ge=1e-9, le=1e9)]
"""What is multiplied, squared and summed with others: weights, ratios, energies, forces."""
PositiveOrAuto = Annotated[float | Literal["auto"], NumberOrWord(Positive, "auto")]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Signed = Annotated[float, Field(ge=-1e9, le=1e9)]
Fraction = Annotated[float, Field(ge=1e-9, le=1)]
"""Of a whole, and not nothing."""
Ratio = Annotated[float, Field(gt=1, le=1e6)]
"""Of two volumes, the larger one first."""
Scaling = Annotated[float, Field(ge=0.01, le=100)]
"""Of a volume."""
Length = Annotated[float, Field(ge=0.1, le=1000)]
"""A; of cells and vacuum."""
LengthOrNone = Annotated[float, Field(ge=0, le=1000)]
Cutoff = Annotated[float, Field(ge=0.1, le=100)]
"""A; how far atoms see each other."""
Displacement = Annotated[float, Field(ge=1e-6, le=100)]
"""A; of atoms."""
DisplacementOrNone = Annotated[float, Field(ge=0, le=100)]
CovalentRadii = Annotated[float, Field(ge=0.01, le=10)]
"""A distance of two atoms in units of the sum of their covalent radii."""
Strength = Annotated[float, Field(ge=-1e6, le=1e6)]
"""Of a bias: tau of E - tau sigma_E, or of E - tau sigma_E^2 in 1/eV."""
RelativeStrength = Annotated[float, Field(ge=0, le=1e3)]
"""Of a bias: tau_rel."""
Temperature = Annotated[float, Field(ge=1e-3, le=1e6)]
Timestep = Annotated[float, Field(ge=1e-4, le=100)]
"""fs; none of a molecular dynamics of atoms is longer."""
Femtoseconds = Annotated[float, Field(ge=1e-4, le=1e9)]
"""A time constant, at most a microsecond."""
FemtosecondsOrNone = Annotated[float, Field(ge=0, le=1e9)]
Hours = Annotated[float, Field(ge=1e-4, le=1e5)]
"""A limit of wall time, a third of a second at least."""
Gigabytes = Annotated[float, Field(ge=0.01, le=1e6)]
AtomEnergy = Annotated[float, Field(ge=-1e7, le=1e7)]
"""eV."""
Moment = Annotated[float, Field(ge=-100, le=100)]
"""Of an atom, in a program's own measure."""
Reciprocal = Annotated[float, Field(ge=-100, le=100)]
"""A coordinate of a q-point, in units of the reciprocal cell."""
