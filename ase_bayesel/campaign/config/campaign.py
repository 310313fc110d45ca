"""The config of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from ...dynamics.ensembles import NPT
from ...dynamics.schedules import values_of
from ...io.kinds import VALUE, OneOf
from ...io.magnitudes import Seed, Threads
from ...labelling.engines import ENGINES, Engine, ImportedEngine, ProgramEngine
from ...resources import BatchJobs, Here
from ...structures.environments import CutOut
from ...surrogate.fitting import Weights
from ..refit import REFITTERS, MACERefitter, Refitter
from .base import Section
from .data import DataConfig, LabelsConfig
from .explore import ExploreConfig
from .models import (
    ACEConfig,
    AnyDescriptor,
    AnyPotential,
    JulipConfig,
    MACEPotentialConfig,
    check_models,
    follows_potential,
    given_model,
)
from .properties import PropertiesConfig
from .stop import StopConfig
from .workers import WorkersConfig

AnyEngine = Annotated[Engine | Literal["none"], OneOf(ENGINES, words=("none",), base=Engine)]
AnyRefitter = Annotated[Refitter, OneOf(REFITTERS)]


def _with_automatic_scale(given: Any) -> Any:
    """Weights whose ``high_energy`` is not given have the automatic one."""
    return {"high_energy": "auto", **given} if isinstance(given, Mapping) else given


class CampaignConfig(Section):
    """Everything a campaign needs to know.

    Without a ``potential`` the linear surrogate itself is the potential and is
    fitted in each round. With one, ``refit`` says how it is trained on the new
    labels; without ``refit`` it stays as it is. ``threads`` limits torch and BLAS:
    structures of a few hundred atoms are fastest on one.
    """

    seed: Seed = 0
    threads: Threads = 1
    potential: AnyPotential | None = None
    descriptor: AnyDescriptor
    refit: AnyRefitter | None = None
    data: DataConfig
    weights: Annotated[Annotated[Weights, VALUE] | None, BeforeValidator(_with_automatic_scale)] = (
        Weights(high_energy="auto")
    )
    explore: ExploreConfig
    labelling: AnyEngine
    labels: LabelsConfig = LabelsConfig()
    workers: WorkersConfig = WorkersConfig()
    stop: StopConfig = StopConfig()
    properties: PropertiesConfig | None = None

    @property
    def hottest_K(self) -> float:
        """The highest temperature of the walkers."""
        return max(values_of(self.explore.temperature_K))

    @property
    def engine(self) -> Engine | None:
        """What computes labels; None where the user labels by hand."""
        return None if self.labelling == "none" else self.labelling

    @property
    def cut_out(self) -> CutOut | None:
        """How picks are cut out of frames, with its reach; None where they are not."""
        wanted = self.explore.cut_out
        if wanted is None or wanted.reach_A is not None:
            return wanted
        if not isinstance(self.descriptor, ACEConfig | JulipConfig):
            raise ValueError(
                "explore.cut_out.reach_A: only features of linear ACE tell it; give the cutoff of "
                "the network times the number of its layers"
            )
        try:
            return replace(wanted, reach_A=self.descriptor.cutoff)
        except ValueError as error:
            raise ValueError(f"explore.cut_out.{error}") from None

    @model_validator(mode="after")
    def _cut_outs_can_be_used(self) -> CampaignConfig:
        cut_out, engine = self.cut_out, self.engine
        if cut_out is None:
            return self
        changing = isinstance(self.explore.ensemble, NPT) or self.explore.has_cell_moves
        if cut_out.method == "cluster" and changing:
            raise ValueError(
                "explore.cut_out.method: a cluster needs a cell wider than itself, and this "
                "one may shrink; use method: periodic"
            )
        if cut_out.method == "cluster" and engine is not None and not engine.without_periodicity:
            raise ValueError(
                f"explore.cut_out.method: {engine.kind} computes nothing without periodicity; "
                "take periodic"
            )
        if self.data.forces_key is None:
            raise ValueError(
                "explore.cut_out: only forces of cut-outs are labels; give data.forces_key"
            )
        if isinstance(self.refit, MACERefitter):
            raise ValueError(
                "explore.cut_out: mace's training leaves no atoms of a structure out; use refit: "
                "{kind: command} with a training that does, no refit, or linear ACE"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit_together(self) -> CampaignConfig:
        mace = isinstance(self.potential, MACEPotentialConfig)
        check_models(self.potential, self.descriptor)
        changing = follows_potential(self.potential, self.descriptor)
        if self.data.prior_is_surrogate and changing and self.refit is not None:
            raise ValueError(
                "data.prior: a saved surrogate is of one descriptor, and here the features change "
                "with each refit of the potential; give a file of structures, which works there too"
            )
        if isinstance(self.refit, MACERefitter) and not mace:
            raise ValueError("refit: kind mace fine-tunes a potential of kind mace only")
        engine, jobs = self.engine, self.workers.labelling
        if isinstance(engine, ProgramEngine | ImportedEngine) and isinstance(jobs, BatchJobs):
            limit_h, walltime_h = engine.time_limit_h, jobs.walltime_h
            if limit_h is not None and limit_h >= walltime_h:
                raise ValueError(
                    f"labelling.time_limit_h: a calculation of {limit_h} h does not fit into a job "
                    f"of {walltime_h} h (workers.labelling.walltime_h)"
                )
        if (self.explore.targets == "file") != (self.data.targets is not None):
            raise ValueError("explore.targets: file and data.targets need each other")
        self._engine_can_bootstrap()
        self._torch_sim_can()
        if self.refit is not None and given_model(self.potential) is None:
            raise ValueError(
                "refit: needs a potential with a model file to start from (potential.model; or "
                "one that its package finds by a name: model: {name: ...})"
            )
        return self

    def _torch_sim_can(self) -> None:
        """Refuse torch-sim where the features are not of the potential, or walkers are apart."""
        if self.explore.dynamics != "torch_sim":
            return
        if self.potential is None or not follows_potential(self.potential, self.descriptor):
            raise ValueError(
                "explore.dynamics: torch_sim needs a potential whose own network gives the "
                "features; use dynamics: ase with this descriptor"
            )
        if not isinstance(self.workers.walkers, Here):
            raise ValueError(
                "workers.walkers: explore.dynamics: torch_sim moves all walkers in one batch; "
                "use kind: here"
            )

    def _engine_can_bootstrap(self) -> None:
        """Refuse a recipe of first structures that nothing computes."""
        recipe, engine = self.data.bootstrap, self.engine
        if recipe is None:
            return
        if engine is None:
            raise ValueError(
                "data.train: bootstrap needs an engine (labelling), and labels come by hand; "
                "give a file of labelled structures"
            )
        if (recipe.isolated or recipe.dimers) and not engine.without_periodicity:
            raise ValueError(
                f"data.train.bootstrap: {engine.kind} computes nothing without periodicity; set "
                "isolated: false with e0s: average, or e0s by element, and dimers: 0"
            )
