"""The sections of a config: frozen, unknown keys refused."""

from .base import FACTORY, MODEL_NAME, InputPath, ModelFile, Section
from .bias import BiasConfig
from .data import (
    DataConfig,
    EngineConfig,
    ImportedConfig,
    StopConfig,
    SurrogateConfig,
    TBLiteConfig,
)
from .explore import ExploreConfig, GuardsConfig, TriggerConfig
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

__all__ = [
    "FACTORY",
    "MODEL_NAME",
    "ACEConfig",
    "BiasConfig",
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
    "PotentialConfig",
    "RefitConfig",
    "Section",
    "StopConfig",
    "SurrogateConfig",
    "TBLiteConfig",
    "TriggerConfig",
    "WeightsConfig",
]
