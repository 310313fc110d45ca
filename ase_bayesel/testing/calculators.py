"""Whether the results of an ASE calculator belong together."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_properties

from .comparisons import (
    N_DIRECTIONS,
    Checker,
    ConformanceError,
    moved,
    slope_of,
    strained_by,
    untouched,
)


def check_calculator(
    calculator: Calculator,
    atoms: Atoms,
    *,
    tolerance: float = 1e-4,
    step_A: float = 1e-3,
    extra_results: Collection[str] = (),
) -> None:
    """Check an ASE calculator: energy, forces and stress that belong together.

    Forces and, with three periodic directions, the stress (where implemented)
    against central differences of the energy; only ASE's names in ``results``, and those that
    are allowed;
    the same answer to the same question; untouched input. A `BiasedCalculator`
    must have a fixed tau, or each evaluation has another energy surface.

    Parameters
    ----------
    calculator
        What to check.
    atoms
        A distorted structure that it can evaluate; a calculator on it is not used.
    tolerance
        Largest relative deviation from the differences.
    step_A
        Displacement of the central differences, A; strains use a tenth of the number.
    extra_results
        Further names that its ``results`` may hold.

    Raises
    ------
    ConformanceError
        At the first promise that is broken.
    """
    atoms = atoms.copy()
    rng = np.random.default_rng(0)
    check = Checker(f"{type(calculator).__name__}: ", tolerance, rng)
    with untouched([atoms]):
        energy = calculator.get_potential_energy(atoms)
        forces = np.array(calculator.get_forces(atoms))
    if not np.isscalar(energy) or not np.isfinite(energy):
        raise ConformanceError(f"{check.where}energy: expected a finite number, got {energy!r}")
    if forces.shape != (len(atoms), 3) or not np.isfinite(forces).all():
        raise ConformanceError(f"{check.where}forces: expected finite {(len(atoms), 3)}")

    def surface(moved: Atoms) -> float:
        if "free_energy" in calculator.implemented_properties:
            return calculator.get_potential_energy(moved, force_consistent=True)
        return calculator.get_potential_energy(moved)

    for _ in range(N_DIRECTIONS):
        move = rng.standard_normal((len(atoms), 3))
        slope = slope_of(surface, moved, atoms, move, step_A)
        scale = float(np.linalg.norm(forces))
        check.close(-np.sum(forces * move), slope, "forces and differences of the energy", scale)
    if atoms.pbc.all() and "stress" in calculator.implemented_properties:
        stress, volume = np.array(calculator.get_stress(atoms)), atoms.get_volume()
        if stress.shape != (6,):
            raise ConformanceError(f"{check.where}stress: expected (6,), got {stress.shape}")
        for _ in range(N_DIRECTIONS):
            strain = rng.standard_normal(6)
            slope = slope_of(surface, strained_by, atoms, strain, step_A / 10)
            work, scale = stress @ strain, float(np.linalg.norm(stress))
            check.close(work, slope / volume, "stress and differences of the energy", scale)
    again = calculator.get_potential_energy(atoms)
    check.close(again, energy, "energy of the same structure, asked for again")
    unknown = sorted(set(calculator.results).difference(all_properties, extra_results))
    if unknown:
        raise ConformanceError(
            f"{check.where}results: names that ASE does not know: {unknown}; "
            "extra_results allows them"
        )
