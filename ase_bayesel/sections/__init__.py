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
from .explore import ExploreConfig, GuardsConfig, TriggerConfig
from .generation import (
    ChainConfig,
    DynamicsConfig,
    PoolConfig,
    RecipeConfig,
    ScreenConfig,
)
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
    "ChainConfig",
    "CommandRefitConfig",
    "DataConfig",
    "DescriptorConfig",
    "DynamicsConfig",
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
    "PoolConfig",
    "PotentialConfig",
    "RecipeConfig",
    "RefitConfig",
    "ScreenConfig",
    "Section",
    "StopConfig",
    "SurrogateConfig",
    "TBLiteConfig",
    "TriggerConfig",
    "WeightsConfig",
]
