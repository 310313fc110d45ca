"""Any ASE calculator with restraints on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ...structures.calculators import changes, volume
from .kinds import Effect, Restraint, RestraintReport, effect_of


class RestrainedCalculator(Calculator):
    """ASE calculator of the energy of another one and that of restraints.

    All else is the other one's: a `BiasedCalculator` tells its predictions as ever, without
    restraints. A stress is that of three cell vectors.

    Parameters
    ----------
    calculator
        Any ASE calculator; a `BiasedCalculator`, say.
    restraints
        `Harmonic`, `UpperWall` and `LowerWall`, which add up.
    step
        At which moving restraints stand.

    Attributes
    ----------
    unrestrained
        The other calculator.
    step
        To be set between two MD steps where restraints move:
        ``dynamics.attach(lambda: setattr(atoms.calc, "step", dynamics.nsteps))``.
    """

    def __init__(
        self, calculator: Calculator, restraints: Sequence[Restraint], step: int = 0
    ) -> None:
        super().__init__()
        self.unrestrained: Any = calculator
        self.restraints = tuple(restraints)
        self.step = step
        self._known: tuple[int, Effect] | None = None

    @property
    def implemented_properties(self) -> list[str]:  # type: ignore[override]
        """Those of the other calculator."""
        return list(self.unrestrained.implemented_properties)

    def report(self, atoms: Atoms) -> RestraintReport:
        """The energy of the restraints and the values of their variables."""
        return self._effect(atoms).report

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What differs from the other calculator's last evaluation, by ASE's names."""
        return list(self.unrestrained.check_state(atoms, tol))

    def reset(self) -> None:
        """Drop all results, also those of the other calculator."""
        super().reset()
        self._known = None
        self.unrestrained.reset()

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """A result for these atoms, as in ASE; None where it would have to be calculated."""
        given = self.unrestrained.get_property(name, atoms, allow_calculation)
        if given is None:
            return None
        effect = self._effect(self.unrestrained.atoms if atoms is None else atoms)
        found = {**self.unrestrained.results, name: given}
        self.results = {
            key: self._added(key, value, effect)
            for key, value in found.items()
            if value is not None
        }
        value = self.results[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _effect(self, atoms: Atoms) -> Effect:
        """What the restraints do at these atoms, which is kept for as long as nothing changes."""
        if self._known is None or self._known[0] != self.step or changes(self.atoms, atoms):
            self.atoms = atoms.copy()
            self._known = self.step, effect_of(self.restraints, self.atoms, self.step)
        return self._known[1]

    def _added(self, name: str, value: Any, effect: Effect) -> Any:
        """A result of the other calculator with what restraints add to it."""
        if name in ("energy", "free_energy"):
            return value + effect.report.energy
        if name == "forces":
            return value - effect.gradient.positions
        if name == "stress" and self.atoms.cell.rank == 3:  # some give one of molecules too
            return value + effect.gradient.strain / volume(self.atoms)
        return value

    def energy_change(self, atoms: Atoms) -> float:
        """Energy of another configuration less that of the last evaluation, eV.

        The other calculator has to know its own, as `BiasedCalculator.energy_change`.
        """
        trial = effect_of(self.restraints, atoms, self.step).report.energy
        change = trial - self.report(self.unrestrained.atoms).energy
        return float(self.unrestrained.energy_change(atoms) + change)
