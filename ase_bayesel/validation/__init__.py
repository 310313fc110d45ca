"""Properties of crystals from any ASE calculator, with error bars where it is a surrogate's.

`crystal` relaxes a cell and finds lattice and elastic constants, `surfaces` relaxed
surface energies, `vacancy` that of a vacancy, `phonons` force constants and frequencies,
`bands` draws them.
The error bars are of the coefficients: they say how far the training data leave the
model open, not how far its form is from the truth.
"""

from .bands import draw_bands
from .crystal import crystal_quantities, elastic_constants, relax
from .phonons import ForceConstants, Frequencies, force_constants
from .quantities import EnergyFunctional, Quantity, evaluate, members
from .surfaces import Facet, build_slab, surface_functional
from .vacancy import vacancy_functional

__all__ = [
    "EnergyFunctional",
    "Facet",
    "ForceConstants",
    "Frequencies",
    "Quantity",
    "build_slab",
    "crystal_quantities",
    "draw_bands",
    "elastic_constants",
    "evaluate",
    "force_constants",
    "members",
    "relax",
    "surface_functional",
    "vacancy_functional",
]
