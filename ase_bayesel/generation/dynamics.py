"""A recipe that takes snapshots of molecular dynamics, biased or plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..bias import TauRule
from ..calculator import BiasedCalculator
from ..errors import GenerationError
from ..prediction import Prediction
from ..surrogate import Uncertainty
from ..walkers import run_walker
from .recipe import Candidate, Context, Recipe, Rejected, derived


class UnbiasedCalculator(Calculator):
    """Any ASE calculator as `run_walker` takes it, without a bias or an uncertainty."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    surrogate = None

    def __init__(self, mlip: Calculator) -> None:
        super().__init__()
        self.mlip = mlip
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


@dataclass(frozen=True)
class Dynamics(Recipe):
    """Snapshots of MD every ``interval`` steps after the first ``equilibration`` steps.

    Attributes
    ----------
    temperature_K, timestep_fs, friction_per_fs
        Of the Langevin dynamics of `run_walker`.
    steps, interval, equilibration
        Numbers of MD steps.
    tau, tau_rel
        Strength of the bias as of `BiasedCalculator`, or neither for plain MD.

    A trajectory that a guard ends loses its later snapshots; they are counted under the
    walker's status, as ``"md_temperature"``.
    """

    temperature_K: float
    steps: int
    interval: int
    equilibration: int = 0
    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01
    tau: float | None = None
    tau_rel: float | TauRule | None = None

    def __post_init__(self) -> None:
        if self.tau is not None and self.tau_rel is not None:
            raise ValueError("give tau or tau_rel, not both")

    @property
    def biased(self) -> bool:
        """Whether there is a bias."""
        return self.tau is not None or self.tau_rel is not None

    @property
    def name(self) -> str:
        return f"{'biased_md' if self.biased else 'md'}_{self.temperature_K:g}K"

    @property
    def size(self) -> int:
        return max(self.steps // self.interval - self.equilibration // self.interval, 0)

    def check(self, context: Context) -> None:
        if context.calculator is None:
            raise GenerationError(f"{self.name}: needs a potential")
        if self.biased and context.surrogate is None:
            raise GenerationError(f"{self.name}: a bias needs a surrogate")

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        made, status = 0, "running"
        for step in run_walker(
            start,
            self._calculator(context),
            n_steps=self.steps,
            temperature_K=self.temperature_K,
            rng=rng,
            timestep_fs=self.timestep_fs,
            friction_per_fs=self.friction_per_fs,
            guards=context.guards,
        ):
            status = step.status
            if status != "running":
                break
            if step.step > self.equilibration and step.step % self.interval == 0:
                made += 1
                yield derived(
                    step.atoms,
                    start,
                    self.name,
                    step=step.step,
                    temperature_K=self.temperature_K,
                )
        yield from [Rejected(f"md_{status}")] * (self.size - made)

    def _calculator(self, context: Context) -> Any:
        assert context.calculator is not None
        if not self.biased:
            return UnbiasedCalculator(context.calculator)
        assert context.surrogate is not None
        return BiasedCalculator(context.calculator, context.surrogate, self.tau, self.tau_rel)
