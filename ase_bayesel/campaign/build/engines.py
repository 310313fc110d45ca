"""The labelling engine of a config."""

from __future__ import annotations

from ...labelling.engines import (
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
from ...labelling.reference import Reference, properties_of
from ...structures.labels import PropertyKeys
from ..config import (
    EngineConfig,
)
from ..config.campaign import CampaignConfig
from ..store import Store

ENGINES: dict[str, type[Engine]] = {
    engine.kind: engine
    for engine in (
        *(TBLiteEngine, ImportedEngine, SurrogateEngine, MACEEngine, GPAWEngine),
        *(EspressoEngine, AbinitEngine, CP2KEngine),
        *(VaspEngine, CastepEngine, OrcaEngine, AimsEngine, LammpsEngine),
    )
}


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
    for name in ("command", "fallbacks"):
        if name in given:
            given[name] = tuple(given[name])
    return ENGINES[labelling.kind](**given)
