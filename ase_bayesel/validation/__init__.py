"""Properties of crystals from any ASE calculator, with error bars where it is a surrogate's.

`crystal` relaxes a cell and finds lattice and elastic constants, `surfaces` relaxed
surface energies, `vacancy` that of a vacancy, `phonons` force constants and frequencies,
`bands` draws them.
The error bars are of the coefficients: they say how far the training data leave the
model open, not how far its form is from the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..io.faces import lazy_names

if TYPE_CHECKING:
    from .bands import draw_bands
    from .crystal import crystal_quantities, elastic_constants, relax
    from .phonons import ForceConstants, Frequencies, force_constants
    from .quantities import EnergyFunctional, evaluate, members
    from .quantity import Quantity
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
__getattr__ = lazy_names(
    __name__,
    {
        "EnergyFunctional": ".quantities",
        "Facet": ".surfaces",
        "ForceConstants": ".phonons",
        "Frequencies": ".phonons",
        "Quantity": ".quantity",
        "build_slab": ".surfaces",
        "crystal_quantities": ".crystal",
        "draw_bands": ".bands",
        "elastic_constants": ".crystal",
        "evaluate": ".quantities",
        "force_constants": ".phonons",
        "members": ".quantities",
        "relax": ".crystal",
        "surface_functional": ".surfaces",
        "vacancy_functional": ".vacancy",
    },
)
