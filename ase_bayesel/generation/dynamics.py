"""A recipe that takes snapshots of molecular dynamics, biased or plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..bias.calculator import BiasedCalculator
from ..bias.tau import TauRule
from ..bias.unbiased import UnbiasedCalculator
from ..dynamics.ensembles import Ensemble, Langevin, check_ensemble
from ..dynamics.schedules import Schedule, value_at, values_of
from ..dynamics.walkers import run_walker
from ..errors import GenerationError
from .recipe import Candidate, Context, Recipe, Rejected, derived


@dataclass(frozen=True)
class Dynamics(Recipe):
    """Snapshots of MD every ``interval`` steps after the first ``equilibration`` steps.

    Attributes
    ----------
    temperature_K, pressure_GPa, timestep_fs, ensemble
        Of `run_walker`; temperature and pressure may be ramps.
    steps, interval, equilibration
        Numbers of MD steps.
    tau, tau_rel
        Strength of the bias as of `BiasedCalculator`, or neither for plain MD.

    A trajectory that a guard ends loses its later snapshots; they are counted under the
    walker's status, as ``"md_temperature"``.
    """

    temperature_K: Schedule
    steps: int
    interval: int
    equilibration: int = 0
    timestep_fs: float = 1.0
    ensemble: Ensemble = Langevin()
    pressure_GPa: Schedule | None = None
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
        """Short name, which tells what is special about it."""
        name = f"{'biased_md' if self.biased else 'md'}_{_named(self.temperature_K)}K"
        return name if self.pressure_GPa is None else f"{name}_{_named(self.pressure_GPa)}GPa"

    @property
    def size(self) -> int:
        """How many candidates one start gives."""
        return max(self.steps // self.interval - self.equilibration // self.interval, 0)

    def check(self, context: Context, starts: Sequence[Atoms]) -> None:
        """Raise a `GenerationError` without a potential, or a `StructureError` for a start."""
        if context.calculator is None:
            raise GenerationError(f"{self.name}: needs a potential")
        if self.biased and context.surrogate is None:
            raise GenerationError(f"{self.name}: a bias needs a surrogate")
        for number, start in enumerate(starts):
            where = f"{self.name}: start {number}"
            check_ensemble(self.ensemble, start, self.pressure_GPa is not None, where)

    def frames(
        self, start: Atoms, context: Context, rng: np.random.Generator
    ) -> Iterator[Candidate]:
        """Snapshots of one trajectory."""
        made, status = 0, "running"
        for step in run_walker(
            start,
            self._calculator(context),
            n_steps=self.steps,
            temperature_K=self.temperature_K,
            rng=rng,
            timestep_fs=self.timestep_fs,
            ensemble=self.ensemble,
            pressure_GPa=self.pressure_GPa,
            guards=context.guards,
        ):
            status = step.status
            if status != "running":
                break
            if step.step > self.equilibration and step.step % self.interval == 0:
                made += 1
                yield derived(step.atoms, start, self.name, **self._parameters(step.step))
        yield from [Rejected(f"md_{status}")] * (self.size - made)

    def _parameters(self, step: int) -> dict[str, float]:
        parameters = {"step": step, "temperature_K": value_at(self.temperature_K, step)}
        if self.pressure_GPa is not None:
            parameters["pressure_GPa"] = value_at(self.pressure_GPa, step)
        return parameters

    def _calculator(self, context: Context) -> Any:
        assert context.calculator is not None
        if not self.biased:
            return UnbiasedCalculator(context.calculator)
        assert context.surrogate is not None
        return BiasedCalculator(context.calculator, context.surrogate, self.tau, self.tau_rel)


def _named(schedule: Schedule) -> str:
    """The constant, or the ends of a ramp."""
    first, *_, last = (*values_of(schedule), values_of(schedule)[-1])
    return f"{first:g}" if first == last else f"{first:g}-{last:g}"
