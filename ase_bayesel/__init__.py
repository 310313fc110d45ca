"""Bayesian selection of training structures for machine-learned interatomic potentials."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bias import Deviation, TauRule, Variance
    from .build_md import overrides_of
    from .calculator import BiasedCalculator
    from .campaign import Campaign
    from .config import CampaignConfig, load_config
    from .descriptors.ace import ACEDescriptor
    from .descriptors.mace import MACEDescriptor
    from .driver import DriverState
    from .ensembles import NPT, NVE, Bussi, Langevin, NoseHooverChain
    from .feature_store import FeatureStore
    from .fitting import Weights, fit_surrogate
    from .force_uncertainty import ForceSearch
    from .generation import generate_pool
    from .moves import CellMove, SwapMove
    from .pool import select
    from .posterior import Posterior
    from .prediction import Prediction
    from .ramps import Ramp
    from .surrogate import Surrogate
    from .triggers import EnergyTrigger, ForceTrigger, Guards, RelativeForceTrigger
    from .walkers import WalkerStep, run_walker, run_walkers

__version__ = "0.1.0"

_ROOMS = {
    "ACEDescriptor": "descriptors.ace",
    "BiasedCalculator": "calculator",
    "Bussi": "ensembles",
    "Campaign": "campaign",
    "CampaignConfig": "config",
    "CellMove": "moves",
    "Deviation": "bias",
    "DriverState": "driver",
    "EnergyTrigger": "triggers",
    "FeatureStore": "feature_store",
    "ForceSearch": "force_uncertainty",
    "ForceTrigger": "triggers",
    "Guards": "triggers",
    "Langevin": "ensembles",
    "MACEDescriptor": "descriptors.mace",
    "NPT": "ensembles",
    "NVE": "ensembles",
    "NoseHooverChain": "ensembles",
    "Posterior": "posterior",
    "Prediction": "prediction",
    "Ramp": "ramps",
    "RelativeForceTrigger": "triggers",
    "Surrogate": "surrogate",
    "SwapMove": "moves",
    "TauRule": "bias",
    "Variance": "bias",
    "WalkerStep": "walkers",
    "Weights": "fitting",
    "fit_surrogate": "fitting",
    "generate_pool": "generation",
    "load_config": "config",
    "overrides_of": "build_md",
    "run_walker": "walkers",
    "run_walkers": "walkers",
    "select": "pool",
}

__all__ = [
    "NPT",
    "NVE",
    "ACEDescriptor",
    "BiasedCalculator",
    "Bussi",
    "Campaign",
    "CampaignConfig",
    "CellMove",
    "Deviation",
    "DriverState",
    "EnergyTrigger",
    "FeatureStore",
    "ForceSearch",
    "ForceTrigger",
    "Guards",
    "Langevin",
    "MACEDescriptor",
    "NoseHooverChain",
    "Posterior",
    "Prediction",
    "Ramp",
    "RelativeForceTrigger",
    "Surrogate",
    "SwapMove",
    "TauRule",
    "Variance",
    "WalkerStep",
    "Weights",
    "fit_surrogate",
    "generate_pool",
    "load_config",
    "overrides_of",
    "run_walker",
    "run_walkers",
    "select",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room when it is first used."""
    if name in _ROOMS:
        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
