"""Any ASE calculator as a walker takes it, without a bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..errors import GenerationError
from ..surrogate.surrogate import Uncertainty
from .prediction import Prediction
from .tau import TauHistory


class UnbiasedCalculator(Calculator):
    """Any ASE calculator as `run_walker` takes it, without a bias or an uncertainty."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    surrogate = None

    def __init__(self, mlip: Calculator) -> None:
        super().__init__()
        self.mlip = mlip
        self.history = self.history_before = TauHistory()
        self.prediction: Prediction

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy, forces and, where it is asked for, stress of the calculator."""
        super().calculate(atoms, properties, system_changes)
        wanted = ["energy", "forces", *(["stress"] if "stress" in properties else [])]
        self.results = {name: self.mlip.get_property(name, self.atoms) for name in wanted}
        self.results["free_energy"] = self.results["energy"]
        self.prediction = Prediction(
            energy=self.results["energy"],
            forces=self.results["forces"],
            stress=self.results.get("stress"),
            bias_energy=0.0,
            bias_forces=np.zeros((len(self.atoms), 3)),
            bias_stress=None,
            energy_std=0.0,
            tau=0.0,
            _uncertainty=_none,
        )


def _none() -> Uncertainty:
    raise GenerationError("there is no uncertainty without a surrogate")
