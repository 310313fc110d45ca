"""The lines of Python that load the model of a round for ASE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..errors import StoreError
from ..io.importing import module_file
from ..structures.energy_shift import EnergyShift
from .build.potentials import factory_arguments
from .config.models import (
    AnyPotential,
    DescriptorPotentialConfig,
    ImportedPotentialConfig,
    MACEPotentialConfig,
)
from .store import Store

CALCULATOR_OF = "ase_bayesel.descriptors.importing:calculator_of"
POTENTIAL: TypeAdapter[Any] = TypeAdapter(AnyPotential | None)


def stored_potential(store: Store) -> MACEPotentialConfig | ImportedPotentialConfig | None:
    """The potential of a campaign's config; None where the linear model itself is the potential.

    That of the descriptor's own model is one whose factory makes the descriptor. No code of the
    config runs.

    Raises
    ------
    StoreError
        If the stored config holds no readable section ``potential``.
    """
    try:
        given = POTENTIAL.validate_python(store.read_config().get("potential"))
    except ValueError as error:
        raise StoreError(f"{store.config_path}: potential: {error}") from error
    if not isinstance(given, DescriptorPotentialConfig):
        return given  # type: ignore[no-any-return]
    features = store.read_config()["descriptor"]
    made_by = {"factory": features["factory"], "parameters": features.get("parameters", {})}
    return ImportedPotentialConfig(CALCULATOR_OF, parameters=made_by, model=given.model)


def needs_trust(store: Store) -> bool:
    """Whether loading a surrogate of the campaign imports the factory of its descriptor."""
    return bool(store.read_config()["descriptor"].get("kind") == "import")


def round_lines(store: Store, number: int) -> tuple[str, ...]:
    """Lines after which ``calculator`` is the potential of a round, where it lies.

    Of a linear potential with its uncertainties.

    Parameters
    ----------
    store, number
        The campaign and its round.
    """
    potential = stored_potential(store)
    if potential is None:
        return surrogate_lines(store.model_path(number), trust=needs_trust(store))
    shift = store.read_report(number).energy_shift
    return potential_lines(potential, store.potential_path(number), shift)


def surrogate_lines(
    path: Path, potential: Sequence[str] = (), trust: bool = False
) -> tuple[str, ...]:
    """Lines after which ``calculator`` has the uncertainties of a saved surrogate.

    Parameters
    ----------
    path
        Of the surrogate.
    potential
        Lines of the potential; by default it is the mean of the surrogate.
    trust
        See `Surrogate.load`.
    """
    trusted = ", trust=True" if trust else ""
    own = "calculator" if potential else "surrogate.calculator()"
    return (
        *potential,
        "from ase_bayesel import BiasedCalculator, Surrogate",
        f"surrogate = Surrogate.load({str(path)!r}{trusted})",
        f"calculator = BiasedCalculator({own}, surrogate)",
    )


def potential_lines(
    potential: MACEPotentialConfig | ImportedPotentialConfig,
    model: Path | None,
    shift: EnergyShift | None,
) -> tuple[str, ...]:
    """Lines after which ``calculator`` is a potential of another package.

    Parameters
    ----------
    potential
        The config's section.
    model
        Its file or folder; None where it has none.
    shift
        Of its energies; None for none.
    """
    if isinstance(potential, MACEPotentialConfig):
        head = {} if potential.head is None else {"head": potential.head}
        named = {"model_paths": str(model), "device": potential.device}
        named |= {"default_dtype": potential.dtype, **head}
        lines = ["from mace.calculators import MACECalculator"]
        lines += [f"calculator = MACECalculator({_arguments((), named)})"]
    else:
        file, name = module_file(potential.factory), potential.factory.rpartition(":")[2]
        module = potential.factory.rpartition(":")[0] if file is None else file.stem
        lines = [f"from {module} import {name.partition('.')[0]}"]
        if file is not None:
            lines = [f"import sys; sys.path.append({str(file.parent)!r})", *lines]
        given = _arguments(*factory_arguments(potential, model))
        lines += [f"calculator = {name}({given})"]
    if shift is not None:
        lines += [
            "from ase_bayesel.structures.energy_shift import EnergyShift, ShiftedCalculator",
            f"shift = EnergyShift({dict(shift.energies)!r}, {shift.source!r})",
            "calculator = ShiftedCalculator(calculator, shift)",
        ]
    return tuple(lines)


def _arguments(given: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Arguments of a call as Python."""
    keywords = [f"{name}={value!r}" for name, value in named.items() if name.isidentifier()]
    others = {name: value for name, value in named.items() if not name.isidentifier()}
    return ", ".join([*map(repr, given), *keywords, *([f"**{others!r}"] if others else [])])
