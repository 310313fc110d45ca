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
from .ensembles import (
    BussiConfig,
    EnsembleConfig,
    LangevinConfig,
    NoseHooverChainConfig,
    NPTConfig,
    NVEConfig,
    PressureSchedule,
    TauRelSchedule,
    TemperatureSchedule,
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
from .overrides import Overrides

__all__ = [
    "FACTORY",
    "MODEL_NAME",
    "ACEConfig",
    "BiasConfig",
    "BussiConfig",
    "CommandRefitConfig",
    "DataConfig",
    "DescriptorConfig",
    "EngineConfig",
    "EnsembleConfig",
    "ExploreConfig",
    "GuardsConfig",
    "ImportedConfig",
    "ImportedPotentialConfig",
    "InputPath",
    "LangevinConfig",
    "MACEFeaturesConfig",
    "MACEPotentialConfig",
    "MACERefitConfig",
    "ModelFile",
    "NPTConfig",
    "NVEConfig",
    "NoseHooverChainConfig",
    "Overrides",
    "PotentialConfig",
    "PressureSchedule",
    "RefitConfig",
    "Section",
    "StopConfig",
    "SurrogateConfig",
    "TBLiteConfig",
    "TauRelSchedule",
    "TemperatureSchedule",
    "TriggerConfig",
    "WeightsConfig",
]
