"""From a config to descriptor, potential and refitter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator

from ...errors import ConfigError
from ...io.failures import is_failure, reason_of
from ...labelling.engines.calculators import checked_calculator, imported
from ...surrogate.surrogate import Surrogate
from ..config import ACEConfig, AnyDescriptor, JulipConfig, MACEPotentialConfig, PoolConfig
from ..config.campaign import CampaignConfig
from ..refit import MACERefitter, Refitter

if TYPE_CHECKING:
    from ...descriptors.ace import ACEDescriptor
    from ...descriptors.julip import JulipDescriptor
    from ...descriptors.mace import MACEDescriptor


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


def build_descriptor(
    config: CampaignConfig | PoolConfig, potential: Path | None
) -> ACEDescriptor | JulipDescriptor | MACEDescriptor:
    """The descriptor of a round; ``potential`` is the file of the round's potential.

    Raises
    ------
    DescriptorError
        If it cannot be made.
    """
    features = config.descriptor
    assert features is not None
    if isinstance(features, ACEConfig):
        from ...descriptors.ace import ACEDescriptor

        return ACEDescriptor(
            list(features.elements), features.order, features.totaldegree, features.cutoff
        )
    if isinstance(features, JulipConfig):
        from ...descriptors.julip import JulipDescriptor

        return JulipDescriptor(
            list(features.elements), features.order, features.totaldegree, features.cutoff
        )
    from ...descriptors.mace import MACEDescriptor

    model: Path | str | None = features.model
    options: dict[str, Any] = {"trust": features.trust}
    if model is None and isinstance(config.potential, MACEPotentialConfig):
        model = potential
        shared = ("head", "dtype", "device", "trust")
        options = {key: getattr(config.potential, key) for key in shared}
    assert model is not None
    return MACEDescriptor(
        model,
        components=features.components,
        num_layers=features.num_layers,
        elements=None if features.elements is None else list(features.elements),
        **options,
    )


def force_projections(descriptor: AnyDescriptor | None) -> int | None:
    """How many random directions stand for the forces in a fit; None for all rows."""
    return getattr(descriptor, "force_projections", None)


def build_potential(
    config: CampaignConfig | PoolConfig, model: Path | None, surrogate: Surrogate | None
) -> Calculator:
    """The potential of a round: from its file, or the mean of the surrogate.

    Raises
    ------
    BayeselError
        If it cannot be read or imported.
    """
    potential = config.potential
    if potential is None:
        assert surrogate is not None
        return surrogate.calculator()
    if isinstance(potential, MACEPotentialConfig):
        from ...descriptors.mace.loading import mace_calculator

        assert model is not None
        return mace_calculator(
            model, potential.head, potential.dtype, potential.device, potential.trust
        )
    file = {} if model is None else {"model": str(model)}
    factory = imported(potential.factory, "potential.factory")
    try:
        made = factory(**file, **potential.parameters)
    except BaseException as error:  # it may raise anything
        if not is_failure(error):
            raise
        raise ConfigError(
            f"potential.factory: {potential.factory!r} fails with these parameters "
            f"({reason_of(error)}; potential.parameters, potential.model)"
        ) from error
    return checked_calculator(made, potential.factory, "potential.factory")


def build_refitter(config: CampaignConfig) -> Refitter | None:
    """How the potential is trained on new labels; None where it is not."""
    refitter, potential = config.refit, config.potential
    if isinstance(refitter, MACERefitter) and isinstance(potential, MACEPotentialConfig):
        return replace(
            refitter,
            head=potential.head,
            dtype=potential.dtype,
            device=potential.device,
            trust=potential.trust,
        )
    return refitter
