"""From a config to its potential, with the model that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator

from ...descriptors.importing import own_calculator
from ...errors import ConfigError
from ...io.fields import ModelName
from ...io.importing import called
from ...io.model_files import ModelFiles, check_files
from ...labelling.engines.calculators import checked_calculator
from ...structures.energy_shift import EnergyShift, ShiftedCalculator
from ...surrogate.surrogate import Surrogate
from ..config import (
    DescriptorPotentialConfig,
    ImportedPotentialConfig,
    MACEPotentialConfig,
    PoolConfig,
)
from ..config.campaign import CampaignConfig
from .models import build_descriptor

FACTORY = "potential.factory"


def initial_potential(config: CampaignConfig | PoolConfig) -> ModelFiles | None:
    """The files of the potential that the campaign starts from, if it has any.

    Raises
    ------
    DescriptorError
        If a MACE model is neither there nor reachable by its name.
    ConfigError
        If another model is missing, or is none that can be copied (`check_files`).
    """
    potential = config.potential
    if isinstance(potential, MACEPotentialConfig):
        from ...descriptors.mace.loading import locate

        return locate(potential.model)
    if potential is None or potential.model is None or isinstance(potential.model, ModelName):
        return None
    model: ModelFiles = potential.model
    check_files(model, "potential.model")
    return model


def build_potential(
    config: CampaignConfig | PoolConfig,
    model: ModelFiles | None,
    surrogate: Surrogate | None,
    shift: EnergyShift | None = None,
) -> Calculator:
    """The potential of a round: from its model, or the mean of the surrogate.

    Parameters
    ----------
    config
        The campaign, or the pool.
    model
        The files of the config, or the campaign's copy; None where the potential has none, or
        only a name.
    surrogate
        Is the potential where the config has none.
    shift
        Added to its energies; None for none.

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

        assert isinstance(model, Path)
        made = mace_calculator(
            model, potential.head, potential.dtype, potential.device, potential.trust
        )
    elif isinstance(potential, DescriptorPotentialConfig):
        features = build_descriptor(config, model) if surrogate is None else surrogate.descriptor
        made = own_calculator(features)
    else:
        given, named = factory_arguments(potential, model)
        made = called(potential.factory, FACTORY, given, named)
        made = checked_calculator(made, potential.factory, FACTORY)
    return made if shift is None else ShiftedCalculator(made, shift)


def given_shift(config: CampaignConfig | PoolConfig) -> EnergyShift | None:
    """The energy shift that a config gives by numbers; None for a fitted one or none."""
    shift = None if config.potential is None else config.potential.energy_shift
    return None if shift is None or isinstance(shift, str) else EnergyShift(shift, "given")


def factory_arguments(
    potential: ImportedPotentialConfig, model: ModelFiles | None
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Positional and keyword arguments of a factory, the model among them if there is one.

    Raises
    ------
    ConfigError
        If a file of several is not there.
    """
    given, named = list(potential.arguments), dict(potential.parameters)
    value = _argument(potential, model)
    if value is None:
        return given, named
    if isinstance(potential.argument, int):
        given.insert(potential.argument, value)
    else:
        named[potential.argument] = value
    return given, named


def _argument(
    potential: ImportedPotentialConfig, model: ModelFiles | None
) -> str | list[str] | None:
    """What the factory is given as its model."""
    if model is None:
        return potential.model.name if isinstance(potential.model, ModelName) else None
    if not isinstance(potential.model, tuple):
        return str(model)
    if isinstance(model, tuple):
        return [str(path) for path in model]
    kept = [model / path.name for path in potential.model]
    for path in kept:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file (potential.model names {path.name})")
    return [str(path) for path in kept]
