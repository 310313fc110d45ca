"""The configs of a campaign and of a pool: frozen, validated, unknown keys refused.

What is one thing is its own class, which is validated as it is (`io.kinds`); what is put together
is a `Section`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...io.faces import lazy_names

if TYPE_CHECKING:
    from .base import Section
    from .bias import BiasConfig
    from .campaign import AnyEngine, AnyRefitter, CampaignConfig
    from .data import DataConfig, LabelsConfig
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
    from .stop import StopConfig
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
__getattr__ = lazy_names(
    __name__,
    {
        "ACEConfig": ".models",
        "AnyDescriptor": ".models",
        "AnyEngine": ".campaign",
        "AnyPotential": ".models",
        "AnyRefitter": ".campaign",
        "AnyResource": ".workers",
        "BiasConfig": ".bias",
        "CampaignConfig": ".campaign",
        "CrystalConfig": ".properties",
        "DESCRIPTORS": ".models",
        "DataConfig": ".data",
        "DescriptorPotentialConfig": ".models",
        "ExploreConfig": ".explore",
        "ImportedFeaturesConfig": ".models",
        "ImportedPotentialConfig": ".models",
        "JulipConfig": ".models",
        "LabelsConfig": ".data",
        "MACEFeaturesConfig": ".models",
        "MACEPotentialConfig": ".models",
        "Overrides": ".explore",
        "POTENTIALS": ".models",
        "PoolConfig": ".generation",
        "PropertiesConfig": ".properties",
        "Section": ".base",
        "StopConfig": ".stop",
        "WorkersConfig": ".workers",
    },
)
