"""Relaxed surface energies: a slab against the bulk that it was cut from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import surface
from ase.calculators.calculator import Calculator
from ase.units import J, m

from ..errors import ValidationError
from ..io.magnitudes import DisplacementOrNone, Length, Miller, Repeats
from .crystal import is_cubic, relax
from .quantities import EnergyFunctional

J_PER_M2 = J / m**2
SURFACE_FMAX = 3e-3
TIE = 1e-6


@dataclass(frozen=True)
class Facet:
    """A surface of a crystal.

    Attributes
    ----------
    miller
        Miller indices: of a cubic crystal in its conventional cell along x, y, z, of any
        other in the cell as it is given.
    layers
        Lattice planes of the given cell in the slab, each with all of its basis.
    vacuum
        Distance to the slab's next image, A.
    rattle
        Standard deviation of random displacements before the slab relaxes, A. Without
        them it keeps its symmetry, so that nothing reconstructs.
    """

    miller: tuple[Miller, Miller, Miller]
    layers: Repeats
    vacuum: Length = 10.0
    rattle: DisplacementOrNone = 0.0

    def __post_init__(self) -> None:
        if not any(self.miller):
            raise ValueError("miller: 0 0 0 is no plane")

    @property
    def name(self) -> str:
        """As ``"gamma (100)"``."""
        return f"gamma ({''.join(map(str, self.miller))})"


def build_slab(crystal: Atoms, facet: Facet) -> Atoms:
    """The unrelaxed slab, periodic, its normal along z.

    The crystal is split where neighbouring atomic planes are farthest apart, which for
    diamond (111) cuts one bond of an atom and not three. Its in-plane cell is
    the smallest one if the crystal's cell is primitive.

    Raises
    ------
    ValidationError
        If the axes of a cubic crystal do not lie along x, y, z.
    """
    indices = _cell_indices(crystal, facet.miller)
    normal = indices @ crystal.cell.reciprocal().array
    moved = crystal.copy()
    moved.positions -= _widest_gap(crystal, indices) * normal / (normal @ normal)
    return surface(moved, indices, facet.layers, vacuum=facet.vacuum / 2.0, periodic=True)


def surface_functional(
    crystal: Atoms, calculator: Calculator, facet: Facet, rng: np.random.Generator
) -> EnergyFunctional:
    """gamma = (E_slab - N E_bulk) / 2 A of the relaxed slab, eV/A^2.

    The slab is cut from the crystal as it is given, which should be relaxed with its cell
    (`crystal.relax`), and its atoms relax in the fixed cell until no force exceeds 3 meV/A.
    That the members of a posterior have other lattice constants is not in the functional's
    standard deviation.

    Parameters
    ----------
    crystal
        The bulk, relaxed.
    calculator
        The potential that the slab relaxes in.
    facet
        Which surface, and how thick a slab.
    rng
        Draws the displacements of ``facet.rattle``.

    Raises
    ------
    ValidationError
        If the slab cannot be cut or does not come to rest.
    """
    slab = build_slab(crystal, facet)
    if facet.rattle:
        slab.positions += rng.normal(0.0, facet.rattle, slab.positions.shape)
    slab = relax(slab, calculator, SURFACE_FMAX)
    two_areas = 2.0 * float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    coefficients = (1.0 / two_areas, -len(slab) / len(crystal) / two_areas)
    return EnergyFunctional((slab, crystal), coefficients)


def _cell_indices(crystal: Atoms, miller: tuple[Miller, Miller, Miller]) -> np.ndarray:
    """Miller indices with respect to the crystal's own cell."""
    indices = np.array(miller)
    if is_cubic(crystal):
        a = crystal.cell.get_bravais_lattice().a
        doubled = 2.0 * crystal.cell.array @ indices / a
        indices = np.rint(doubled).astype(int)
        if not np.allclose(indices, doubled, atol=1e-3):
            raise ValidationError("the axes of a cubic crystal must lie along x, y, z")
    return indices // np.gcd.reduce(indices)


def _widest_gap(crystal: Atoms, indices: np.ndarray) -> float:
    """Middle of the widest gap between atomic planes, in units of the planes' period."""
    heights = np.sort(crystal.get_scaled_positions() @ indices % 1.0)
    gaps = np.diff(heights, append=heights[0] + 1.0)
    first = int(np.flatnonzero(gaps > gaps.max() - TIE)[0])
    return heights[first] + gaps[first] / 2.0
