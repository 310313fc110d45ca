"""From a config to descriptor and refitter; `potentials` makes the potential."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...io.model_files import ModelFiles
from ..config import (
    ACEConfig,
    AnyDescriptor,
    ImportedFeaturesConfig,
    JulipConfig,
    MACEPotentialConfig,
    PoolConfig,
)
from ..config.campaign import CampaignConfig
from ..config.models import follows_potential
from ..refit import MACERefitter, Refitter

if TYPE_CHECKING:
    from ...descriptors.base import Descriptor


def build_descriptor(
    config: CampaignConfig | PoolConfig, potential: ModelFiles | None
) -> Descriptor:
    """The descriptor of a round; ``potential`` is the model of the round's potential.

    Raises
    ------
    DescriptorError
        If it cannot be made.
    ConfigError
        If an imported factory cannot be imported, fails, or makes no descriptor.
    """
    features = config.descriptor
    assert features is not None
    if isinstance(features, ImportedFeaturesConfig):
        from ...descriptors.importing import imported_descriptor

        given: Path | str | None = features.model
        if follows_potential(config.potential, features):
            assert not isinstance(potential, tuple)
            given = potential
        return imported_descriptor(features.factory, features.parameters, given)
    if isinstance(features, ACEConfig):
        from ...descriptors.ace import ACEDescriptor

        return ACEDescriptor(
            list(features.elements),
            features.order,
            features.totaldegree,
            features.cutoff,
            embedding=features.embedding,
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
        assert not isinstance(potential, tuple)
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
