"""The config of a campaign."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from . import (
    DataConfig,
    DescriptorConfig,
    EngineConfig,
    ExploreConfig,
    LabelsConfig,
    MACEFeaturesConfig,
    MACEPotentialConfig,
    MACERefitConfig,
    PotentialConfig,
    RefitConfig,
    Section,
    StopConfig,
    Threads,
    WeightsConfig,
    WorkersConfig,
)


class CampaignConfig(Section):
    """Everything a campaign needs to know.

    Without a ``potential`` the linear surrogate itself is the potential and is
    fitted in each round. With one, ``refit`` says how it is trained on the new
    labels; without ``refit`` it stays as it is. ``threads`` limits torch and BLAS:
    structures of a few hundred atoms are fastest on one.
    """

    seed: int = Field(0, ge=0)
    threads: Threads = 1
    potential: PotentialConfig | None = None
    descriptor: DescriptorConfig
    refit: RefitConfig | None = None
    data: DataConfig
    weights: WeightsConfig | None = WeightsConfig()
    explore: ExploreConfig
    labelling: EngineConfig | Literal["none"]
    labels: LabelsConfig = LabelsConfig()
    workers: WorkersConfig = WorkersConfig()
    stop: StopConfig = StopConfig()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> CampaignConfig:
        mace = isinstance(self.potential, MACEPotentialConfig)
        features = self.descriptor
        if isinstance(features, MACEFeaturesConfig) and features.model is None and not mace:
            raise ValueError("descriptor.model is missing: the potential is no MACE model")
        if isinstance(self.refit, MACERefitConfig) and not mace:
            raise ValueError("refit: kind mace fine-tunes a potential of kind mace only")
        limit_h = getattr(self.labelling, "time_limit_h", None)
        walltime_h = getattr(self.workers.labelling, "walltime_h", None)
        if limit_h is not None and walltime_h is not None and limit_h >= walltime_h:
            raise ValueError(
                f"labelling.time_limit_h: a calculation of {limit_h} h does not fit into a job of "
                f"{walltime_h} h (workers.labelling.walltime_h)"
            )
        if self.refit is not None and getattr(self.potential, "model", None) is None:
            raise ValueError("refit: needs a potential with a model file to start from")
        walkers = self.workers.walkers.kind
        if self.explore.mode == "turns" and walkers != "here":
            raise ValueError(f"workers.walkers: kind {walkers} needs explore.mode: lockstep")
        return self
