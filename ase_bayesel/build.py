"""From a config to the objects that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from .bias import TauRule
from .config import CampaignConfig, EngineConfig, ExploreConfig
from .descriptors import Descriptor
from .labelling import CalculatorFactory, imported_factory, tblite_factory
from .surrogate import Weights
from .triggers import EnergyTrigger, ForceTrigger, Guards, RelativeForceTrigger, Trigger


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Limit torch and the BLAS libraries to ``n`` threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)


def build_descriptor(config: CampaignConfig) -> Descriptor:
    """The descriptor of the campaign."""
    from .descriptors.ace import ACEDescriptor

    ace = config.descriptor
    return ACEDescriptor(ace.elements, ace.order, ace.totaldegree, ace.cutoff)


def build_weights(config: CampaignConfig) -> Weights | None:
    """Weights of the refit; None frees the noise of each property."""
    return None if config.weights is None else Weights(**config.weights.model_dump())


def build_tau_rule(explore: ExploreConfig) -> TauRule | None:
    """The rule behind ``tau_rel``; None if tau is fixed."""
    if explore.tau_rel is None:
        return None
    return TauRule(explore.tau_rel, explore.tau_delay, explore.tau_max)


def build_trigger(explore: ExploreConfig) -> Trigger:
    """The criterion for a pick."""
    trigger = explore.trigger
    if trigger.kind == "relative_force":
        return RelativeForceTrigger(trigger.threshold, trigger.eps)
    if trigger.kind == "force":
        return ForceTrigger(trigger.threshold)
    return EnergyTrigger(trigger.threshold)


def build_guards(explore: ExploreConfig) -> Guards:
    """Limits of a sane trajectory."""
    return Guards(**explore.guards.model_dump())


def build_engine(labelling: EngineConfig | str) -> CalculatorFactory | None:
    """Maker of reference calculators; None where the user labels by hand."""
    if isinstance(labelling, str):
        return None
    if labelling.kind == "tblite":
        return tblite_factory(labelling.method, **labelling.parameters)
    return imported_factory(labelling.factory, **labelling.parameters)


def engine_name(labelling: EngineConfig | str) -> str:
    """What a label says of its origin."""
    if isinstance(labelling, str):
        return "by hand"
    return labelling.method if labelling.kind == "tblite" else labelling.factory
