"""The formation energy of a vacancy, at fixed volume."""

from __future__ import annotations

from ase import Atoms
from ase.calculators.calculator import Calculator

from ..errors import ValidationError
from .crystal import relax
from .quantities import EnergyFunctional
from .surfaces import SURFACE_FMAX


def vacancy_functional(
    crystal: Atoms, calculator: Calculator, supercell: tuple[int, int, int]
) -> EnergyFunctional:
    """E(N - 1) - (N - 1) / N E(N), eV, the atoms around the vacancy relaxed.

    Parameters
    ----------
    crystal
        Relaxed with its cell, of one element; its first atom is taken out.
    calculator
        The potential.
    supercell
        Repetitions along the three cell vectors.

    Raises
    ------
    ValidationError
        If the crystal holds several elements, or does not come to rest.
    """
    if len(set(crystal.symbols)) > 1:
        raise ValidationError(
            f"{crystal.get_chemical_formula()}: the energy of a vacancy is known for crystals of "
            "one element alone"
        )
    whole = crystal.repeat(supercell)
    if len(whole) < 2:
        raise ValidationError("a vacancy needs a supercell of at least two atoms")
    rest = relax(whole[1:], calculator, SURFACE_FMAX)
    n = len(crystal)
    return EnergyFunctional((rest, crystal), (1.0, -len(rest) / n))
