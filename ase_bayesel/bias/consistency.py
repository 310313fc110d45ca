"""Whether a calculator's forces and stress are derivatives of its energy, in the units of ASE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.stress import voigt_6_to_full_3x3_stress

from ..structures.mlip import MLIPResults, mlip_results

RATTLE_A, STRAIN = 0.05, 0.01
"""By how much a structure is distorted first, since forces vanish in a crystal at rest."""
STEP_A, STEP_STRAIN = 0.02, 0.005
"""Of the differences: large, for energies in single precision."""
FLOOR_EV = 1e-3
"""Differences below, per A or per strain, say nothing."""
AGREE = 0.1
"""Up to this share of the larger one they agree, besides what the differences are uncertain by."""
SAME_FACTOR = 0.05
"""A ratio is a factor between units up to this share of it."""
KCAL_MOL, KJ_MOL = units.kcal / units.mol, units.kJ / units.mol
FORCE_CAUSES = {
    1 / units.Hartree: "the forces are in Hartree/A",
    units.Bohr / units.Hartree: "the forces are in Hartree/Bohr",
    1 / units.Rydberg: "the forces are in Rydberg/A",
    units.Bohr / units.Rydberg: "the forces are in Rydberg/Bohr",
    units.Bohr: "the forces are per Bohr",
    1 / KCAL_MOL: "the forces are in kcal/mol/A",
    1 / KJ_MOL: "the forces are in kJ/mol/A",
    units.Hartree: "the energy is in Hartree",
    units.Rydberg: "the energy is in Rydberg",
    KCAL_MOL: "the energy is in kcal/mol",
    KJ_MOL: "the energy is in kJ/mol",
}
"""What it means that forces are so many times what the energy says."""
STRESS_CAUSES = {
    1 / units.GPa: "the stress is in GPa",
    10 / units.GPa: "the stress is in kbar",
    1e3 / units.GPa: "the stress is in MPa",
    1 / units.bar: "the stress is in bar",
    1 / units.Pascal: "the stress is in Pa",
    units.Bohr**3 / units.Hartree: "the stress is in Hartree/Bohr^3",
    units.Bohr**3 / units.Rydberg: "the stress is in Rydberg/Bohr^3",
    units.Hartree: "the energy is in Hartree",
    units.Rydberg: "the energy is in Rydberg",
}


@dataclass(frozen=True)
class Disagreement:
    """Forces, or a stress, that are not what differences of the energy say.

    Attributes
    ----------
    what
        ``"forces"`` or ``"stress"``.
    ratio
        Of what the calculator says and what its energies say.
    cause
        The likely one; empty where no factor is known.
    """

    what: str
    ratio: float
    cause: str

    @property
    def wrong(self) -> bool:
        """Whether units or a sign are wrong; else they are near, but no derivatives."""
        return bool(self.cause) or not 0.5 < self.ratio < 2.0

    def __str__(self) -> str:
        likely = f": likely {self.cause}" if self.cause else ""
        return (
            f"its {self.what} are {self.ratio:.4g} times what differences of its energy say{likely}"
            if self.what == "forces"
            else f"its stress is {self.ratio:.4g} times what differences of its energy say{likely}"
        )


def disagreements(mlip: Calculator, atoms: Atoms) -> list[Disagreement]:
    """What of a calculator is no derivative of its energy; nothing where all is well.

    Forces against energies of displaced atoms and, where there is a stress and three periodic
    directions, the stress against energies of strained cells: at a distorted copy of the
    structure, along the forces and the stress themselves. Nine evaluations.

    Parameters
    ----------
    mlip
        Any ASE calculator; eV, eV/A, and eV/A^3 with a positive sign under tension.
    atoms
        The structure, which is not changed.

    Raises
    ------
    ResultError
        As `mlip_results`.
    """
    atoms, rng = _distorted(atoms), np.random.default_rng(0)
    there = mlip_results(mlip, atoms, False)
    found = [_of_forces(mlip, atoms, there, rng)]
    if there.stress is not None:
        found.append(_of_stress(mlip, atoms, there.stress, rng))
    return [one for one in found if one is not None]


def _of_forces(
    mlip: Calculator, atoms: Atoms, there: MLIPResults, rng: np.random.Generator
) -> Disagreement | None:
    forces = there.forces if there.forces.any() else rng.standard_normal(there.forces.shape)
    direction = forces / np.linalg.norm(forces, axis=1).max()

    def energy(step: float) -> float:
        moved = atoms.copy()
        moved.positions += step * direction
        return mlip_results(mlip, moved, False).energy

    said = -float(np.sum(there.forces * direction))
    causes = FORCE_CAUSES | {float(len(atoms)): "the energy is one per atom"}
    return _compared("forces", said, *_slope(energy, STEP_A), causes)


def _of_stress(
    mlip: Calculator, atoms: Atoms, stress: np.ndarray, rng: np.random.Generator
) -> Disagreement | None:
    tensor = voigt_6_to_full_3x3_stress(stress if stress.any() else rng.standard_normal(6))
    direction, volume = tensor / np.abs(tensor).max(), atoms.get_volume()

    def energy(step: float) -> float:
        deformed = atoms.copy()
        deformed.set_cell(atoms.cell.array @ (np.eye(3) + step * direction), scale_atoms=True)
        return mlip_results(mlip, deformed, False).energy

    said = volume * float(np.sum(voigt_6_to_full_3x3_stress(stress) * direction))
    causes = STRESS_CAUSES | {volume: "it is the stress times the volume, a virial"}
    return _compared("stress", said, *_slope(energy, STEP_STRAIN), causes)


def _compared(
    what: str, said: float, slope: float, error: float, causes: Mapping[float, str]
) -> Disagreement | None:
    if abs(said - slope) <= AGREE * max(abs(said), abs(slope)) + 3 * error + FLOOR_EV:
        return None
    ratio = said / slope if slope else float("inf") * np.sign(said)
    cause = "its sign is wrong" if abs(ratio + 1) < SAME_FACTOR else ""
    for factor, words in causes.items():
        if abs(abs(ratio) / factor - 1) < SAME_FACTOR and abs(factor - 1) > SAME_FACTOR:
            cause = words if ratio > 0 else f"{words} and its sign is wrong"
            break
    return Disagreement(what, ratio, cause)


def _slope(energy: Callable[[float], float], step: float) -> tuple[float, float]:
    """Central difference at 0, extrapolated from two steps, and how far these are apart."""
    wide, narrow = ((energy(size) - energy(-size)) / (2 * size) for size in (step, step / 2))
    return (4 * narrow - wide) / 3, abs(narrow - wide)


def _distorted(atoms: Atoms) -> Atoms:
    rng, out = np.random.default_rng(0), atoms.copy()
    out.set_constraint()
    if atoms.pbc.all():
        strain = rng.uniform(-STRAIN, STRAIN, (3, 3))
        deformation = np.eye(3) + STRAIN * np.eye(3) + (strain + strain.T) / 2
        out.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    out.positions += rng.normal(0.0, RATTLE_A, out.positions.shape)
    return out
