"""The model behind a torch descriptor as an ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ase import Atoms
from ase.calculators.calculator import all_changes

from ...structures.calculators import LeanCalculator, volume

if TYPE_CHECKING:
    from .descriptor import TorchDescriptor


class TorchCalculator(LeanCalculator):
    """ASE calculator of the energies in a descriptor's forward pass."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, descriptor: TorchDescriptor) -> None:
        super().__init__()
        self.descriptor = descriptor

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/A) and, with three periodic directions, stress (eV/A^3)."""
        self.keep(atoms)
        forward = self.descriptor.forward(self.atoms)
        gradient, energy = forward.gradient(1.0, last=True), forward.energy
        self.results = {"energy": energy, "free_energy": energy, "forces": -gradient.positions}
        if self.atoms.pbc.all():
            self.results["stress"] = gradient.strain / volume(self.atoms)
