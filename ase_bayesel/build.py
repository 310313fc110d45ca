"""From a config to the objects that it describes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ase.calculators.calculator import Calculator
from threadpoolctl import threadpool_limits

from .bias import Bias, Deviation, TauRule, Variance
from .config import CampaignConfig
from .descriptors import Descriptor
from .engines import (
    AbinitEngine,
    AimsEngine,
    CastepEngine,
    CP2KEngine,
    Engine,
    EspressoEngine,
    GPAWEngine,
    ImportedEngine,
    LammpsEngine,
    MACEEngine,
    OrcaEngine,
    SurrogateEngine,
    TBLiteEngine,
    VaspEngine,
)
from .engines.calculators import imported
from .errors import ConfigError
from .fitting import Weights
from .force_uncertainty import ForceSearch
from .labelling import Reference, properties_of
from .ramps import value_at
from .refit import CommandRefitter, MACERefitter, Refitter
from .resources import (
    BatchJobs,
    Here,
    LocalCluster,
    ProcessPool,
    Resource,
    RunningCluster,
)
from .sections import (
    ACEConfig,
    BatchConfig,
    BiasConfig,
    CalibrationConfig,
    CombinedConfig,
    DaskConfig,
    EngineConfig,
    ExploreConfig,
    LocalConfig,
    MACEPotentialConfig,
    MACERefitConfig,
    PoolConfig,
    ProcessesConfig,
    ResourceConfig,
    SingleConfig,
    TriggerConfig,
    single_triggers,
)
from .store import Store
from .structures import PropertyKeys
from .surrogate import Surrogate
from .triggers import (
    AllOf,
    AnyOf,
    EnergyTrigger,
    ForceTrigger,
    Guards,
    InformationTrigger,
    LocalEnergyTrigger,
    PickRule,
    RelativeForceTrigger,
    StressTrigger,
    Trigger,
)

ENGINES: dict[str, type[Engine]] = {
    engine.kind: engine
    for engine in (
        *(TBLiteEngine, ImportedEngine, SurrogateEngine, MACEEngine, GPAWEngine),
        *(EspressoEngine, AbinitEngine, CP2KEngine),
        *(VaspEngine, CastepEngine, OrcaEngine, AimsEngine, LammpsEngine),
    )
}


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


def initial_potential(config: CampaignConfig | PoolConfig) -> Path | None:
    """The file of the potential that the campaign starts from, if it has one.

    Raises
    ------
    DescriptorError
        If a MACE model is neither there nor reachable by its name.
    ConfigError
        If another model file is missing.
    """
    potential = config.potential
    if isinstance(potential, MACEPotentialConfig):
        from .descriptors.mace.loading import locate

        return locate(potential.model)
    model = None if potential is None else potential.model
    if model is not None and not model.is_file():
        raise ConfigError(f"{model}: no such file (potential.model)")
    return model


def build_descriptor(config: CampaignConfig | PoolConfig, potential: Path | None) -> Descriptor:
    """The descriptor of a round; ``potential`` is the file of the round's potential."""
    features = config.descriptor
    if isinstance(features, ACEConfig):
        from .descriptors.ace import ACEDescriptor

        return ACEDescriptor(
            features.elements, features.order, features.totaldegree, features.cutoff
        )
    from .descriptors.mace import MACEDescriptor

    own = isinstance(config.potential, MACEPotentialConfig) and features.model is None
    options = {"trust": features.trust}
    if own:
        shared = ("head", "dtype", "device", "trust")
        options = {key: getattr(config.potential, key) for key in shared}
    return MACEDescriptor(
        potential if own else features.model,
        components=features.components,
        num_layers=features.num_layers,
        elements=features.elements,
        **options,
    )


def build_potential(
    config: CampaignConfig | PoolConfig, model: Path | None, surrogate: Surrogate | None
) -> Calculator:
    """The potential of a round: from its file, or the mean of the surrogate."""
    potential = config.potential
    if potential is None:
        assert surrogate is not None
        return surrogate.calculator()
    if isinstance(potential, MACEPotentialConfig):
        from .descriptors.mace.loading import mace_calculator

        return mace_calculator(
            model, potential.head, potential.dtype, potential.device, potential.trust
        )
    own = {} if model is None else {"model": str(model)}
    return imported(potential.factory, "potential.factory")(**own, **potential.parameters)


def build_refitter(config: CampaignConfig) -> Refitter | None:
    """How the potential is trained on new labels; None where it is not."""
    refit = config.refit
    if refit is None:
        return None
    options = refit.model_dump(exclude={"kind"})
    if not isinstance(refit, MACERefitConfig):
        return CommandRefitter(**options)
    return MACERefitter(
        head=config.potential.head,
        dtype=config.potential.dtype,
        device=config.potential.device,
        trust=config.potential.trust,
        **options,
    )


def build_weights(config: CampaignConfig) -> Weights | None:
    """Weights of the refit; None frees the noise of each property."""
    return None if config.weights is None else Weights(**config.weights.model_dump())


def build_tau_rule(explore: ExploreConfig) -> TauRule | None:
    """The rule behind ``tau_rel``; None if tau is fixed."""
    if explore.tau_rel is None:
        return None
    return TauRule(
        value_at(explore.tau_rel, 0),
        explore.tau_delay,
        explore.tau_max,
        bias_force_max=explore.bias.force_max,
        heat_max=explore.bias.heat_max,
    )


def build_bias(bias: BiasConfig) -> Bias:
    """The kind of bias, its region and its energy limit."""
    kind = {"deviation": Deviation, "variance": Variance}[bias.kind]
    return kind(bias.elements, bias.energy_limit)


def build_trigger(explore: ExploreConfig, calibrated: Sequence[float] = ()) -> Trigger:
    """The criterion for a pick.

    ``calibrated`` are the thresholds that the config does not give as numbers, from left to
    right (see `thresholds.calibrating`).
    """
    return _trigger(explore.trigger, iter(calibrated))


def build_probes(explore: ExploreConfig) -> list[Trigger]:
    """The single triggers whose thresholds are to be calibrated; theirs are 0."""
    singles = single_triggers(explore.trigger)
    return [_single(one, 0.0) for one in singles if isinstance(one.threshold, CalibrationConfig)]


def uncalibrated(explore: ExploreConfig) -> list[tuple[str, CalibrationConfig]]:
    """Kind and calibration of the single triggers whose thresholds are not given as numbers."""
    pairs = [(one.kind, one.threshold) for one in single_triggers(explore.trigger)]
    return [(kind, how) for kind, how in pairs if isinstance(how, CalibrationConfig)]


def _trigger(config: TriggerConfig, calibrated: Iterator[float]) -> Trigger:
    if isinstance(config, CombinedConfig):
        kind = AnyOf if config.kind == "any" else AllOf
        return kind(tuple(_trigger(member, calibrated) for member in config.members))
    if not isinstance(config.threshold, CalibrationConfig):
        return _single(config, config.threshold)
    number = next(calibrated, None)
    if number is None:
        raise ConfigError(f"trigger {config.kind}: its threshold has not been calibrated")
    return _single(config, number)


def _single(config: SingleConfig, threshold: float) -> Trigger:
    if config.kind == "relative_force":
        return RelativeForceTrigger(threshold, config.eps)
    kinds = {
        "force": ForceTrigger,
        "energy_per_atom": EnergyTrigger,
        "stress": StressTrigger,
        "local_energy": LocalEnergyTrigger,
        "information": InformationTrigger,
    }
    return kinds[config.kind](threshold)


def build_force_search(explore: ExploreConfig) -> ForceSearch | None:
    """How force triggers search; None where one of them wants all deviations exactly."""
    exact = any(getattr(one, "exact", False) for one in single_triggers(explore.trigger))
    return None if exact else ForceSearch()


def build_pick_rule(explore: ExploreConfig) -> PickRule:
    """Which frame is picked."""
    return PickRule(**explore.pick.model_dump())


def build_guards(explore: ExploreConfig) -> Guards:
    """Limits of a sane trajectory."""
    return Guards(**explore.guards.model_dump())


def build_reference(config: CampaignConfig, store: Store) -> Reference | None:
    """How a campaign's structures are labelled; None where the user labels by hand."""
    engine = build_engine(config.labelling)
    if engine is None:
        return None
    data, labels = config.data, config.labels
    keys = PropertyKeys(data.energy_key, data.forces_key, data.virial_key)
    directory = labels.store or store.labels.directory
    return Reference(
        engine, properties_of(keys), directory.resolve(), labels.keep_output, labels.scratch
    )


def build_engine(labelling: EngineConfig | str) -> Engine | None:
    """What computes labels; None where the user labels by hand."""
    if isinstance(labelling, str):
        return None
    given = labelling.model_dump(exclude={"kind"})
    if given.pop("time_limit_h", None) is not None:
        given["time_limit_s"] = 3600.0 * labelling.time_limit_h
    for name in ("command", "ladder"):
        if name in given:
            given[name] = tuple(given[name])
    return ENGINES[labelling.kind](**given)


def build_resource(workers: ResourceConfig, threads: int, directory: Path) -> Resource:
    """Where tasks run that use so many threads; ``directory`` is the campaign's."""
    match workers:
        case ProcessesConfig():
            return ProcessPool(workers.n_workers or _n_workers(threads), threads)
        case LocalConfig():
            return LocalCluster(workers.n_workers or _n_workers(threads))
        case DaskConfig():
            return RunningCluster(workers.scheduler)
        case BatchConfig():
            given = workers.model_dump(exclude={"kind"}, exclude_none=True)
            for name in ("directives", "directives_skip", "prologue"):
                given[name] = tuple(given[name])
            given.setdefault("log_directory", directory.resolve() / "jobs")
            return BatchJobs(workers.kind, **given)
        case _:
            return Here()


def _n_workers(threads: int) -> int:
    """How many processes of so many threads the cores take that this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // threads)
