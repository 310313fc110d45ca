"""Potentials that ACEpotentials v0.6 has fitted, as ASE calculators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import all_changes

from ...errors import DescriptorError
from ...structures.calculators import LeanCalculator, volume
from ..base import voigt6
from .bridge import Bridge, live_bridge
from .descriptor import boxed

BOX_A = 15.0
"""Free space around atoms along directions that are not periodic; more than any cutoff."""


class JulipCalculator(LeanCalculator):
    """ASE calculator of a JSON model of ACEpotentials, ACE1pack or JuLIP.

    Parameters
    ----------
    model
        The file, as ``save_potential`` or ``export2json`` wrote it.
    bridge
        As of `JulipDescriptor`.

    Raises
    ------
    DescriptorError
        If the file is missing or Julia cannot read it.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, model: str | Path, bridge: Bridge | None = None) -> None:
        super().__init__()
        if not Path(model).is_file():
            raise DescriptorError(f"{model}: no such file")
        self._bridge: Bridge = live_bridge() if bridge is None else bridge
        self._model = self._bridge.load_model(str(model))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/A) and, with three periodic directions, stress (eV/A^3)."""
        self.keep(atoms)
        energy, forces, virial = self._bridge.evaluate(self._model, boxed(self.atoms, BOX_A))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if self.atoms.pbc.all():
            self.results["stress"] = -voigt6(virial) / volume(self.atoms)
