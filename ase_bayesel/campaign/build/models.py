"""From a config to the objects that it describes."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.calculator import Calculator

from ...descriptors import Descriptor
from ...errors import ConfigError
from ...labelling.engines.calculators import imported
from ...surrogate.fitting import Weights
from ...surrogate.surrogate import Surrogate
from ..config import (
    ACEConfig,
    MACEPotentialConfig,
    MACERefitConfig,
    PoolConfig,
)
from ..config.campaign import CampaignConfig
from ..refit import CommandRefitter, MACERefitter, Refitter


def initial_potential(config: CampaignConfig | PoolConfig) -> Path | None:
    """The file of the potential that the campaign starts from, if it has one.

    Raises
    ------
    DescriptorError
        If a MACE model is neither there nor reachable by its name.
    ConfigError
        If another model file is missing.
    """
    potential = config.potential
    if isinstance(potential, MACEPotentialConfig):
        from ...descriptors.mace.loading import locate

        return locate(potential.model)
    model = None if potential is None else potential.model
    if model is not None and not model.is_file():
        raise ConfigError(f"{model}: no such file (potential.model)")
    return model


def build_descriptor(config: CampaignConfig | PoolConfig, potential: Path | None) -> Descriptor:
    """The descriptor of a round; ``potential`` is the file of the round's potential."""
    features = config.descriptor
    if isinstance(features, ACEConfig):
        from ...descriptors.ace import ACEDescriptor

        return ACEDescriptor(
            features.elements, features.order, features.totaldegree, features.cutoff
        )
    from ...descriptors.mace import MACEDescriptor

    own = isinstance(config.potential, MACEPotentialConfig) and features.model is None
    options = {"trust": features.trust}
    if own:
        shared = ("head", "dtype", "device", "trust")
        options = {key: getattr(config.potential, key) for key in shared}
    return MACEDescriptor(
        potential if own else features.model,
        components=features.components,
        num_layers=features.num_layers,
        elements=features.elements,
        **options,
    )


def build_potential(
    config: CampaignConfig | PoolConfig, model: Path | None, surrogate: Surrogate | None
) -> Calculator:
    """The potential of a round: from its file, or the mean of the surrogate."""
    potential = config.potential
    if potential is None:
        assert surrogate is not None
        return surrogate.calculator()
    if isinstance(potential, MACEPotentialConfig):
        from ...descriptors.mace.loading import mace_calculator

        return mace_calculator(
            model, potential.head, potential.dtype, potential.device, potential.trust
        )
    own = {} if model is None else {"model": str(model)}
    return imported(potential.factory, "potential.factory")(**own, **potential.parameters)


def build_refitter(config: CampaignConfig) -> Refitter | None:
    """How the potential is trained on new labels; None where it is not."""
    refit = config.refit
    if refit is None:
        return None
    options = refit.model_dump(exclude={"kind"})
    if not isinstance(refit, MACERefitConfig):
        return CommandRefitter(**options)
    return MACERefitter(
        head=config.potential.head,
        dtype=config.potential.dtype,
        device=config.potential.device,
        trust=config.potential.trust,
        **options,
    )


def build_weights(config: CampaignConfig) -> Weights | None:
    """Weights of the refit; None frees the noise of each property."""
    return None if config.weights is None else Weights(**config.weights.model_dump())
