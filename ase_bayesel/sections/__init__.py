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
from .moves import CellMoveConfig, MoveConfig, SwapMoveConfig
from .overrides import Overrides

__all__ = [
    "FACTORY",
    "MODEL_NAME",
    "ACEConfig",
    "BussiConfig",
    "CellMoveConfig",
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
    "MoveConfig",
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
    "SwapMoveConfig",
    "TBLiteConfig",
    "TauRelSchedule",
    "TemperatureSchedule",
    "TriggerConfig",
    "WeightsConfig",
]
