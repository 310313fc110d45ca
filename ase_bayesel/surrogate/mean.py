"""The mean of a surrogate as an ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ase import Atoms
from ase.calculators.calculator import all_changes

from ..structures.calculators import LeanCalculator, volume

if TYPE_CHECKING:
    from .surrogate import Surrogate


class SurrogateCalculator(LeanCalculator):
    """ASE calculator of a surrogate's mean: a linear interatomic potential."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/A) and, with three periodic directions, stress (eV/A^3)."""
        self.keep(atoms)
        surrogate = self.surrogate
        phi, pullback = surrogate.descriptor.linearize(self.atoms)
        mean = surrogate.posterior.mean
        gradient, energy = pullback(mean), surrogate.baseline(self.atoms) + float(mean @ phi)
        self.results = {"energy": energy, "free_energy": energy, "forces": -gradient.positions}
        if self.atoms.pbc.all():
            self.results["stress"] = gradient.strain / volume(self.atoms)
