"""Properties of a crystal after a round's fit, with their error bars."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms

from ..errors import BayeselError, ConfigError, ValidationError
from ..surrogate.steps import Steps
from ..surrogate.surrogate import Surrogate
from ..validation.crystal import crystal_quantities, elastic_names, lattice_names, relax
from ..validation.phonons import force_constants, import_phonopy
from ..validation.quantities import evaluating
from ..validation.quantity import Quantity
from ..validation.vacancy import vacancy_functional
from .config.campaign import CampaignConfig
from .config.properties import FrequenciesConfig, PropertiesConfig, periodic
from .events import Progress
from .store import Store

CRYSTAL = "crystal"
"""Name of the copy of the crystal's file."""
FAILURES = (BayeselError, ValueError, RuntimeError, ArithmeticError)
"""What ASE and phonopy raise where a poor model drives a crystal anywhere."""
Part = Generator[int, None, Sequence[Quantity]]


def round_properties(
    config: CampaignConfig, store: Store, number: int, surrogate: Surrogate
) -> Generator[Progress, None, tuple[tuple[Quantity, ...], tuple[str, ...]]]:
    """The properties that the config asks for; and for what has failed a line each.

    Parameters
    ----------
    config, store, number
        The campaign and its round. Each round draws the same random numbers, so that its error bars
        differ from those before by what was learnt.
    surrogate
        After the round.
    """
    asked = config.properties
    if asked is None:
        return (), ()
    found: list[Quantity] = []
    failed: list[str] = []
    try:
        crystal = _crystal(asked, store.read_input(CRYSTAL))
        crystal = relax(crystal, surrogate.calculator(), cell=True)
    except FAILURES as error:
        return (), (f"properties: not computed ({error})",)
    for name, part in _parts(asked, crystal, surrogate, np.random.default_rng(config.seed)).items():
        steps = Steps(part)
        try:
            for done in steps:
                yield Progress(number, "properties", done, asked.members, name)
            found += steps.value
        except FAILURES as error:
            failed.append(f"properties: {name} not computed ({error})")
    return tuple(found), tuple(failed)


def check_properties(asked: PropertiesConfig, frames: Mapping[str, Sequence[Atoms]]) -> Atoms:
    """The crystal, if all that is asked for can be computed.

    Parameters
    ----------
    asked
        The config's section.
    frames
        Structures that were read; those of the crystal's file under `CRYSTAL`.

    Raises
    ------
    ConfigError
        Naming the field.
    """
    try:
        crystal = _crystal(asked, frames.get(CRYSTAL, ()))
        if asked.phonons is not None:
            import_phonopy()
    except (ConfigError, ValidationError) as error:
        raise ConfigError(f"properties: {error}") from error
    if asked.vacancy is not None and len(set(crystal.symbols)) > 1:
        raise ConfigError("properties.vacancy: is for crystals of one element")
    if asked.vacancy is not None and len(crystal) * np.prod(asked.vacancy) < 2:
        raise ConfigError("properties.vacancy: needs a supercell of at least two atoms")
    names = list(_names(asked, crystal))
    if unknown := sorted(set(asked.wanted) - set(names)):
        raise ConfigError(
            f"properties.wanted: {', '.join(unknown)} not computed; known: {', '.join(names)}"
        )
    return crystal


def _crystal(asked: PropertiesConfig, copied: Sequence[Atoms]) -> Atoms:
    if copied and asked.crystal.file is not None:
        return periodic(copied[0], str(asked.crystal.file))
    return asked.crystal.build()


def _names(asked: PropertiesConfig, crystal: Atoms) -> Iterator[str]:
    """Of all properties, in their order."""
    yield from lattice_names(crystal)
    yield from elastic_names(crystal) if asked.elastic else ()
    yield from ("vacancy",) if asked.vacancy is not None else ()
    if asked.phonons is not None:
        for name, point in asked.phonons.qpoints.items():
            yield from (f"phonon {name} {which}" for which in _followed(point, crystal))


def _followed(point: tuple[float, float, float], crystal: Atoms) -> dict[str, int]:
    """Which frequencies of a q-point are followed, and their places.

    At the zone's centre three are zero for every model.
    """
    if not all(float(q).is_integer() for q in point):
        return {"lowest": 0, "highest": -1}
    return {"highest": -1} if len(crystal) > 1 else {}


def _parts(
    asked: PropertiesConfig, crystal: Atoms, surrogate: Surrogate, rng: np.random.Generator
) -> dict[str, Part]:
    """What is to be done for a crystal at rest, by what it gives."""
    for_members, for_phonons = rng.spawn(2)
    parts: dict[str, Part] = {"crystal": _of_crystal(asked, crystal, surrogate, for_members)}
    if asked.vacancy is not None:
        parts["vacancy"] = _of_vacancy(crystal, asked.vacancy, surrogate)
    if asked.phonons is not None:
        n_members = asked.members
        parts["phonons"] = _of_phonons(crystal, asked.phonons, n_members, surrogate, for_phonons)
    return parts


def _of_crystal(
    asked: PropertiesConfig, crystal: Atoms, surrogate: Surrogate, rng: np.random.Generator
) -> Part:
    check = partial(crystal_quantities, crystal, elastic=asked.elastic)
    found = yield from evaluating(check, surrogate, asked.members, rng)
    return [_scaled(quantity, surrogate.scales.energy.value) for quantity in found]


def _of_vacancy(crystal: Atoms, supercell: tuple[int, int, int], surrogate: Surrogate) -> Part:
    yield 0
    calculator = surrogate.calculator()
    functional = vacancy_functional(crystal, calculator, supercell)
    found = Quantity("vacancy", functional.value(calculator), "eV", functional.std(surrogate))
    return [_scaled(found, surrogate.scales.energy.value)]


def _of_phonons(
    crystal: Atoms,
    asked: FrequenciesConfig,
    n_members: int,
    surrogate: Surrogate,
    rng: np.random.Generator,
) -> Part:
    yield 0
    constants = force_constants(crystal, surrogate, asked.supercell, n_members, rng)
    found = constants.frequencies(list(asked.qpoints.values()))
    assert found.std is not None
    return [
        _scaled(
            Quantity(f"phonon {name} {which}", values[k], "THz", stds[k]),
            surrogate.scales.in_campaign.forces.value,
        )
        for (name, point), values, stds in zip(
            asked.qpoints.items(), found.values, found.std, strict=True
        )
        for which, k in _followed(point, crystal).items()
    ]


def _scaled(quantity: Quantity, scale: float) -> Quantity:
    """With an error bar as large as errors; a `ValidationError` if it is not finite."""
    found = quantity.scaled(scale)
    assert found.std is not None
    if not np.isfinite([found.value, found.std]).all():
        raise ValidationError(f"{quantity.name} is not finite")
    return replace(found, value=float(found.value), std=float(found.std))
