"""The configs of a campaign and of a pool: frozen, validated, unknown keys refused.

What is one thing is its own class, which is validated as it is (`io.kinds`); what is put together
is a `Section`.
"""

from .base import Section
from .bias import BiasConfig
from .campaign import AnyEngine, AnyRefitter, CampaignConfig
from .data import DataConfig, LabelsConfig, StopConfig
from .explore import ExploreConfig, Overrides
from .generation import PoolConfig
from .models import (
    DESCRIPTORS,
    POTENTIALS,
    ACEConfig,
    AnyDescriptor,
    AnyPotential,
    DescriptorPotentialConfig,
    ImportedFeaturesConfig,
    ImportedPotentialConfig,
    JulipConfig,
    MACEFeaturesConfig,
    MACEPotentialConfig,
)
from .properties import CrystalConfig, PropertiesConfig
from .workers import AnyResource, WorkersConfig

__all__ = [
    "DESCRIPTORS",
    "POTENTIALS",
    "ACEConfig",
    "AnyDescriptor",
    "AnyEngine",
    "AnyPotential",
    "AnyRefitter",
    "AnyResource",
    "BiasConfig",
    "CampaignConfig",
    "CrystalConfig",
    "DataConfig",
    "DescriptorPotentialConfig",
    "ExploreConfig",
    "ImportedFeaturesConfig",
    "ImportedPotentialConfig",
    "JulipConfig",
    "LabelsConfig",
    "MACEFeaturesConfig",
    "MACEPotentialConfig",
    "Overrides",
    "PoolConfig",
    "PropertiesConfig",
    "Section",
    "StopConfig",
    "WorkersConfig",
]
