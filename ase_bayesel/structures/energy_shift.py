"""A constant energy per element that takes a potential to the reference of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..errors import ResultError
from ..io.words import counted
from .calculators import LeanCalculator
from .mlip import mlip_results
from .reference_energies import UNDETERMINED, composition_energy, energies_per_element


@dataclass(frozen=True)
class EnergyShift:
    """What is added to an energy for each atom, by element; forces and stress stay.

    Potentials of another functional, of all electrons or of cohesive energies differ from labels
    by such a constant above all. ``E_shifted = E + sum_Z n_Z d_Z``.

    Attributes
    ----------
    energies
        ``d_Z`` by element, eV.
    source
        Where they come from, in words.
    """

    energies: Mapping[str, float]
    source: str

    @classmethod
    def fitted(
        cls, compositions: Sequence[Mapping[str, int]], differences: Sequence[float]
    ) -> EnergyShift:
        """By least squares, of the smallest norm where compositions do not tell elements apart.

        Parameters
        ----------
        compositions
            Numbers of atoms by element, of each structure.
        differences
            Label less prediction of the structures, eV.
        """
        energies, rank = energies_per_element(compositions, differences)
        source = f"fitted to {counted(len(differences), 'structure')}"
        return cls(energies, source if rank == len(energies) else f"{source}, {UNDETERMINED}")

    def of(self, atoms: Atoms) -> float:
        """Of a structure, eV.

        Raises
        ------
        ResultError
            For an element without a shift.
        """
        try:
            return composition_energy(atoms, self.energies)
        except KeyError as error:
            raise ResultError(
                f"element {error.args[0]} has no energy shift (potential.energy_shift)"
            ) from None

    def __str__(self) -> str:
        told = ", ".join(f"{symbol} {energy:+.5g}" for symbol, energy in self.energies.items())
        return f"energy shift {told} eV per atom, {self.source}"


class ShiftedCalculator(LeanCalculator):
    """Another calculator whose energies are shifted.

    Parameters
    ----------
    inner
        Any ASE calculator that gives energy and forces.
    shift
        Added to its energies.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, inner: Calculator, shift: EnergyShift) -> None:
        super().__init__()
        self.inner, self.shift = inner, shift

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy, forces and, where it is asked for or there anyway, the stress.

        The parameters are those of ASE's calculators.

        Raises
        ------
        ResultError
            As `mlip_results`, and for an element without a shift.
        """
        self.keep(atoms)
        found = mlip_results(self.inner, self.atoms, "stress" in properties)
        energy = found.energy + self.shift.of(self.atoms)
        self.results = {"energy": energy, "free_energy": energy, "forces": found.forces}
        if found.stress is not None:
            self.results["stress"] = found.stress
