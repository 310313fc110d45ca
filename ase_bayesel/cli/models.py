"""A model that a command is given by its name."""

from __future__ import annotations

import re

from ase.calculators.calculator import Calculator

from ..errors import ConfigError
from ..io.fields import FACTORY, MODEL_NAME
from ..io.importing import imported
from ..surrogate.surrogate import SURROGATE_SUFFIX, Surrogate


def named_model(
    model: str, head: str | None = None, device: str = "cpu", trust: bool = False
) -> Surrogate | Calculator:
    """A saved surrogate (``.npz``), ``package.module:factory``, or a MACE model.

    Parameters
    ----------
    model
        Its name.
    head, device
        Of a MACE model.
    trust
        That of `MACEDescriptor`.

    Raises
    ------
    BayeselError
        If it is missing, cannot be read, imported or called.
    """
    if model.endswith(SURROGATE_SUFFIX):
        return Surrogate.load(model, trust=trust)
    if re.fullmatch(FACTORY, model) and not MODEL_NAME.fullmatch(model):
        factory = imported(model, "model")
        try:
            return factory()
        except Exception as error:
            raise ConfigError(f"{model}: cannot be called without arguments ({error!r})") from error
    from ..descriptors.mace.loading import locate, mace_calculator

    return mace_calculator(locate(model), head, "float64", device, trust)
