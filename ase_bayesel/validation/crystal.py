"""Relaxed crystals: lattice constants and elastic constants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from ase.stress import voigt_6_to_full_3x3_strain
from ase.units import GPa

from ..errors import ValidationError
from .quantity import Quantity

BULK_FMAX = 1e-5
MAX_STEPS = 1000
SWELLS = 3.0
"""By this factor a volume may grow or shrink while a crystal comes to rest."""
STRAIN = 1e-3
AXES_TOLERANCE = 0.01
"""Largest spread of C11, C22, C33 of a cubic crystal, relative to their mean."""


def relax(
    atoms: Atoms, calculator: Calculator, fmax: float = BULK_FMAX, cell: bool = False
) -> Atoms:
    """A copy at rest, with the calculator.

    Parameters
    ----------
    atoms, calculator
        Where to start, and the potential. A symmetry of the start is kept.
    fmax
        Largest force, eV/A; with a free cell also the largest component of its
        generalised force (eV, see `ase.filters.FrechetCellFilter`).
    cell
        Relax the cell too.

    Raises
    ------
    ValidationError
        If that is not reached in `MAX_STEPS` steps, or the cell swells or collapses before.
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    moving: Any = FrechetCellFilter(atoms) if cell else atoms
    name, volume = atoms.get_chemical_formula(), atoms.cell.volume
    steps = LBFGS(moving, logfile=None).irun(fmax=fmax, steps=MAX_STEPS)  # type: ignore[arg-type]
    at_rest = False
    for reached in steps:
        at_rest = reached
        if cell and not 1.0 / SWELLS < atoms.cell.volume / volume < SWELLS:
            raise ValidationError(
                f"{name}: its volume has changed by more than a factor of {SWELLS:g}"
            )
    if not at_rest:
        raise ValidationError(
            f"{name}: not at rest (forces below {fmax:g} eV/A) after {MAX_STEPS} steps"
        )
    return atoms


def elastic_constants(
    crystal: Atoms, calculator: Calculator, fmax: float = BULK_FMAX
) -> np.ndarray:
    """Stiffness C = d stress / d strain ``(6, 6)``, eV/A^3, in ASE's Voigt order.

    Central differences over strains of 0.1 %, at each of which the atoms relax. Axes are
    those in which the crystal lies, shear strains are engineering ones (2 e_yz).

    Parameters
    ----------
    crystal
        Periodic in three directions and relaxed with its cell (see `relax`).
    calculator
        With a stress.
    fmax
        Largest force on an atom of the strained crystal, eV/A.
    """

    def stress(component: int, strain: float) -> np.ndarray:
        voigt = np.zeros(6)
        voigt[component] = strain
        strained = crystal.copy()
        deformation = voigt_6_to_full_3x3_strain(voigt)  # the identity is in it
        strained.set_cell(crystal.cell.array @ deformation, scale_atoms=True)
        return relax(strained, calculator, fmax).get_stress()

    columns = [(stress(k, STRAIN) - stress(k, -STRAIN)) / (2.0 * STRAIN) for k in range(6)]
    return (np.array(columns) + np.array(columns).T) / 2.0


def lattice_names(crystal: Atoms) -> tuple[str, ...]:
    """The lattice constants that `crystal_quantities` gives: ``a``, and what is free besides."""
    return tuple(crystal.cell.get_bravais_lattice().vars())


def elastic_names(crystal: Atoms) -> tuple[str, ...]:
    """The elastic constants that `crystal_quantities` gives."""
    if is_cubic(crystal):
        return ("C11", "C12", "C44", "bulk modulus")
    return (*(f"C{i + 1}{j + 1}" for i in range(6) for j in range(i, 6)), "bulk modulus")


def is_cubic(crystal: Atoms) -> bool:
    """Whether the cell is that of a cubic lattice."""
    return crystal.cell.get_bravais_lattice().crystal_family == "cubic"


def crystal_quantities(
    crystal: Atoms, calculator: Calculator, elastic: bool = True
) -> tuple[Quantity, ...]:
    """Lattice constants (A, degrees) and elastic constants (GPa) of the relaxed crystal.

    A cubic crystal has C11, C12, C44, any other all 21. The bulk modulus is the Voigt
    average sum_ij C_ij / 9 over i, j <= 3; for cubic crystals it is exact.

    Raises
    ------
    ValidationError
        If the crystal does not come to rest, or is cubic and not along x, y, z.
    """
    crystal = relax(crystal, calculator, cell=True)
    lattice = crystal.cell.get_bravais_lattice().vars()
    quantities = [
        Quantity(k, v, "A" if k in ("a", "b", "c") else "deg") for k, v in lattice.items()
    ]
    if elastic:
        stiffness = elastic_constants(crystal, calculator) / GPa
        values = dict(_independent(stiffness, is_cubic(crystal)))
        values["bulk modulus"] = stiffness[:3, :3].mean()
        quantities += [
            Quantity(name, float(values[name]), "GPa") for name in elastic_names(crystal)
        ]
    return tuple(quantities)


def _independent(stiffness: np.ndarray, cubic: bool) -> Iterator[tuple[str, float]]:
    """Names and values."""
    if not cubic:
        for i, j in zip(*np.triu_indices(6), strict=True):
            yield f"C{i + 1}{j + 1}", stiffness[i, j]
        return
    diagonal = np.diagonal(stiffness)
    if np.ptp(diagonal[:3]) > AXES_TOLERANCE * diagonal[:3].mean():
        raise ValidationError("the axes of a cubic crystal must lie along x, y, z")
    yield "C11", diagonal[:3].mean()
    yield "C12", stiffness[:3, :3][np.triu_indices(3, 1)].mean()
    yield "C44", diagonal[3:].mean()
