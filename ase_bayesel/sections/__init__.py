"""The sections of a config: frozen, unknown keys refused."""

from .base import FACTORY, MODEL_NAME, InputPath, ModelFile, Section
from .data import (
    DataConfig,
    EngineConfig,
    ImportedConfig,
    StopConfig,
    SurrogateConfig,
    TBLiteConfig,
)
from .explore import ExploreConfig
from .models import (
    ACEConfig,
    CommandRefitConfig,
    DescriptorConfig,
    ImportedPotentialConfig,
    MACEFeaturesConfig,
    MACEPotentialConfig,
    MACERefitConfig,
    PotentialConfig,
    RefitConfig,
    WeightsConfig,
)
from .triggers import (
    CalibrationConfig,
    CombinedConfig,
    GuardsConfig,
    PickConfig,
    SingleConfig,
    TriggerConfig,
    single_triggers,
)

__all__ = [
    "FACTORY",
    "MODEL_NAME",
    "ACEConfig",
    "CalibrationConfig",
    "CombinedConfig",
    "CommandRefitConfig",
    "DataConfig",
    "DescriptorConfig",
    "EngineConfig",
    "ExploreConfig",
    "GuardsConfig",
    "ImportedConfig",
    "ImportedPotentialConfig",
    "InputPath",
    "MACEFeaturesConfig",
    "MACEPotentialConfig",
    "MACERefitConfig",
    "ModelFile",
    "PickConfig",
    "PotentialConfig",
    "RefitConfig",
    "Section",
    "SingleConfig",
    "StopConfig",
    "SurrogateConfig",
    "TBLiteConfig",
    "TriggerConfig",
    "WeightsConfig",
    "single_triggers",
]
