"""What this package's ASE calculators share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)

from .electronic import CHARGE, SPIN


class LeanCalculator(Calculator):
    """An ASE calculator without files that costs little to ask again.

    In MD it is asked several times in each step, and a small cell takes no longer than ASE's
    own comparison of structures within a tolerance. Here they are compared bit for bit, and
    copied once for each evaluation.
    """

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What differs from the last evaluation, by ASE's names; the tolerance is not used."""
        return list(all_changes) if self.atoms is None else changes(self.atoms, atoms)

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result for these atoms, evaluated where it is not known; as in ASE.

        Raises
        ------
        PropertyNotImplementedError
            If the calculator does not give this property, or not for these atoms.
        """
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(f"{name} property not implemented")
        different: list[str] = []
        if atoms is None:
            atoms = self.atoms
        else:
            different = self.check_state(atoms)
            if different:
                self.atoms = None
                self.results = {}
        if name not in self.results:
            if not allow_calculation:
                return None
            self.calculate(atoms, [name], different)
        if name not in self.results:
            raise PropertyNotImplementedError(f"{name} not present in this calculation")
        result = self.results[name]
        return result.copy() if isinstance(result, np.ndarray) else result

    def keep(self, atoms: Atoms | None) -> None:
        """Take a copy of the atoms as those of this evaluation; None for those of the last."""
        if atoms is not None and atoms is not self.atoms:
            self.atoms = atoms.copy()


class PotentialCalculator(LeanCalculator):
    """A lean calculator of an energy with its gradients, which `evaluate` gives."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    @abstractmethod
    def evaluate(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy (eV), forces ``(n_atoms, 3)`` (eV/A) and the energy's derivatives (eV) by strain.

        These are six, in Voigt order.
        """

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/A) and, with three periodic directions, stress (eV/A^3)."""
        self.keep(atoms)
        energy, forces, by_strain = self.evaluate(self.atoms)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if self.atoms.pbc.all():
            self.results["stress"] = by_strain / volume(self.atoms)


def volume(atoms: Atoms) -> float:
    """Volume of the cell, A^3, by arithmetic that costs less than ASE's.

    Raises
    ------
    ValueError
        If there are not three cell vectors.
    """
    size = abs(determinant(atoms.cell.array))
    return size if size > 0 else float(atoms.get_volume())


def determinant(matrix: np.ndarray) -> float:
    """Determinant of ``(3, 3)``."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def changes(before: Atoms, after: Atoms) -> list[str]:
    """What differs between two structures, by ASE's names and to the last bit."""
    ours, theirs = before.arrays, after.arrays
    different = [
        name
        for name, one, other in (
            ("positions", ours["positions"], theirs["positions"]),
            ("numbers", ours["numbers"], theirs["numbers"]),
            ("cell", before.cell.array, after.cell.array),
            ("pbc", before.pbc, after.pbc),
        )
        if one.shape != other.shape or (one != other).any()
    ]
    for name in ("initial_charges", "initial_magmoms"):
        if name in ours or name in theirs:
            present = name in ours and name in theirs
            if not present or not np.array_equal(ours[name], theirs[name]):
                different.append(name)
    if any(before.info.get(key) != after.info.get(key) for key in (CHARGE, SPIN)):
        different.append("info")
    return different
