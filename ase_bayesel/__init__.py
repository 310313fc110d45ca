"""Bayesian selection of training structures for machine-learned interatomic potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .io.faces import lazy_names

if TYPE_CHECKING:
    from .bias.annotation import annotate
    from .bias.calculator import BiasedCalculator
    from .bias.kinds import Deviation, Variance
    from .bias.prediction import Prediction
    from .bias.tau import TauRule
    from .campaign.build.walkers import overrides_of
    from .campaign.campaign import Campaign
    from .campaign.config.campaign import CampaignConfig
    from .campaign.config.loading import load_config
    from .descriptors.ace import ACEDescriptor
    from .descriptors.embedding import Embedding
    from .descriptors.julip import JulipDescriptor
    from .descriptors.mace import MACEDescriptor
    from .dynamics.driver_state import DriverState
    from .dynamics.ensembles import NPT, NVE, Bussi, Langevin, NoseHooverChain
    from .dynamics.moves import CellMove, SwapMove
    from .dynamics.restraints import (
        Angle,
        CellAngle,
        CellLength,
        Coordination,
        Dihedral,
        Distance,
        Harmonic,
        LowerWall,
        RestrainedCalculator,
        UpperWall,
    )
    from .dynamics.schedules import Ramp
    from .dynamics.triggers import EnergyTrigger, ForceTrigger, Guards, RelativeForceTrigger
    from .dynamics.trust import TrustBound
    from .dynamics.walker_step import WalkerStep
    from .dynamics.walkers import run_walker, run_walkers
    from .generation import generate_pool
    from .selection.feature_store import FeatureStore
    from .selection.select import select
    from .structures.environments import CutOut
    from .surrogate.fitting import Weights, fit_surrogate
    from .surrogate.force_uncertainty import ForceSearch
    from .surrogate.posterior import Posterior
    from .surrogate.row_store import RowStore
    from .surrogate.surrogate import Surrogate


__version__ = "0.1.0"
_MODULES = {
    "ACEDescriptor": ".descriptors.ace",
    "Angle": ".dynamics.restraints",
    "BiasedCalculator": ".bias.calculator",
    "Bussi": ".dynamics.ensembles",
    "Campaign": ".campaign.campaign",
    "CampaignConfig": ".campaign.config.campaign",
    "CellAngle": ".dynamics.restraints",
    "CellLength": ".dynamics.restraints",
    "CellMove": ".dynamics.moves",
    "Coordination": ".dynamics.restraints",
    "CutOut": ".structures.environments",
    "Deviation": ".bias.kinds",
    "Dihedral": ".dynamics.restraints",
    "Distance": ".dynamics.restraints",
    "DriverState": ".dynamics.driver_state",
    "Embedding": ".descriptors.embedding",
    "EnergyTrigger": ".dynamics.triggers",
    "FeatureStore": ".selection.feature_store",
    "ForceSearch": ".surrogate.force_uncertainty",
    "ForceTrigger": ".dynamics.triggers",
    "Guards": ".dynamics.triggers",
    "Harmonic": ".dynamics.restraints",
    "JulipDescriptor": ".descriptors.julip",
    "Langevin": ".dynamics.ensembles",
    "LowerWall": ".dynamics.restraints",
    "MACEDescriptor": ".descriptors.mace",
    "NPT": ".dynamics.ensembles",
    "NVE": ".dynamics.ensembles",
    "NoseHooverChain": ".dynamics.ensembles",
    "Posterior": ".surrogate.posterior",
    "Prediction": ".bias.prediction",
    "Ramp": ".dynamics.schedules",
    "RelativeForceTrigger": ".dynamics.triggers",
    "RestrainedCalculator": ".dynamics.restraints",
    "RowStore": ".surrogate.row_store",
    "Surrogate": ".surrogate.surrogate",
    "SwapMove": ".dynamics.moves",
    "TauRule": ".bias.tau",
    "TrustBound": ".dynamics.trust",
    "UpperWall": ".dynamics.restraints",
    "Variance": ".bias.kinds",
    "WalkerStep": ".dynamics.walker_step",
    "Weights": ".surrogate.fitting",
    "annotate": ".bias.annotation",
    "calibrated": ".surrogate.calibration",
    "fit_surrogate": ".surrogate.fitting",
    "generate_pool": ".generation",
    "load_config": ".campaign.config.loading",
    "overrides_of": ".campaign.build.walkers",
    "run_walker": ".dynamics.walkers",
    "run_walkers": ".dynamics.walkers",
    "select": ".selection.select",
}
__all__ = [
    "NPT",
    "NVE",
    "ACEDescriptor",
    "Angle",
    "BiasedCalculator",
    "Bussi",
    "Campaign",
    "CampaignConfig",
    "CellAngle",
    "CellLength",
    "CellMove",
    "Coordination",
    "CutOut",
    "Deviation",
    "Dihedral",
    "Distance",
    "DriverState",
    "Embedding",
    "EnergyTrigger",
    "FeatureStore",
    "ForceSearch",
    "ForceTrigger",
    "Guards",
    "Harmonic",
    "JulipDescriptor",
    "Langevin",
    "LowerWall",
    "MACEDescriptor",
    "NoseHooverChain",
    "Posterior",
    "Prediction",
    "Ramp",
    "RelativeForceTrigger",
    "RestrainedCalculator",
    "RowStore",
    "Surrogate",
    "SwapMove",
    "TauRule",
    "TrustBound",
    "UpperWall",
    "Variance",
    "WalkerStep",
    "Weights",
    "annotate",
    "calibrated",
    "fit_surrogate",
    "generate_pool",
    "load_config",
    "overrides_of",
    "run_walker",
    "run_walkers",
    "select",
]
__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
