"""The sections of a config: frozen, unknown keys refused."""

from .base import FACTORY, MODEL_NAME, InputPath, ModelFile, Section, Threads
from .bias import BiasConfig
from .data import DataConfig, StopConfig
from .engines import EngineConfig, ImportedConfig, SurrogateConfig, TBLiteConfig
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
from .explore import ExploreConfig
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
from .moves import CellMoveConfig, MoveConfig, SwapMoveConfig
from .overrides import Overrides
from .triggers import (
    CalibrationConfig,
    CombinedConfig,
    GuardsConfig,
    PickConfig,
    SingleConfig,
    TriggerConfig,
    single_triggers,
)
from .walkers import WorkersConfig

__all__ = [
    "FACTORY",
    "MODEL_NAME",
    "ACEConfig",
    "BiasConfig",
    "BussiConfig",
    "CalibrationConfig",
    "CellMoveConfig",
    "ChainConfig",
    "CombinedConfig",
    "CommandRefitConfig",
    "DataConfig",
    "DescriptorConfig",
    "DynamicsConfig",
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
    "PickConfig",
    "PoolConfig",
    "PotentialConfig",
    "PressureSchedule",
    "RecipeConfig",
    "RefitConfig",
    "ScreenConfig",
    "Section",
    "SingleConfig",
    "StopConfig",
    "SurrogateConfig",
    "SwapMoveConfig",
    "TBLiteConfig",
    "TauRelSchedule",
    "TemperatureSchedule",
    "Threads",
    "TriggerConfig",
    "WeightsConfig",
    "WorkersConfig",
    "single_triggers",
]
