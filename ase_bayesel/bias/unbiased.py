"""Any ASE calculator as a walker takes it, without a bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..structures.calculators import LeanCalculator
from ..structures.mlip import mlip_results
from .prediction import Prediction
from .response import Parts, Response
from .tau import TauHistory, TauState


class UnbiasedCalculator(LeanCalculator):
    """Any ASE calculator as `run_walker` takes it, without a bias or an uncertainty.

    Whoever asks its predictions for an uncertainty gets a `GenerationError`.

    Parameters
    ----------
    mlip
        Any ASE calculator that gives energy and forces.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    surrogate = None
    tau_rel = None
    batchable = False

    def __init__(self, mlip: Calculator) -> None:
        super().__init__()
        self.mlip = mlip
        self.tau_state = TauState()
        self.last_prediction: Prediction | None = None

    @property
    def prediction(self) -> Prediction:
        """The last evaluation; a RuntimeError before the first."""
        if self.last_prediction is None:
            raise RuntimeError("no evaluation yet: ask for an energy or forces first")
        return self.last_prediction

    def restore(self, atoms: Atoms | None = None, known: TauHistory | None = None) -> None:
        """Begin a trajectory, or go on with one, as `BiasedCalculator.restore` does.

        The evaluation of ``atoms`` is repeated in any case.
        """
        self.tau_state = TauState.at(known or TauHistory())
        self.reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy, forces and, where it is asked for, stress of the calculator.

        The parameters are those of `BiasedCalculator.calculate`.
        """
        self.keep(atoms)
        energy, forces, stress = mlip_results(self.mlip, self.atoms, "stress" in properties)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if stress is not None:
            self.results["stress"] = stress
        unbiased = Response(forces, stress)
        nothing = Response(np.zeros((len(self.atoms), 3)), None)
        self.last_prediction = Prediction(
            self.atoms, energy, unbiased, parts=Parts(unbiased, nothing)
        )
