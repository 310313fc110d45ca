"""What a config names is made and tried on starts, so that a wrong setup fails before round 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from ..bias.consistency import disagreements
from ..bias.evaluators import choose_evaluator
from ..dynamics.ensembles import NPT
from ..errors import BayeselError, ConfigError
from ..io.failures import is_failure, reason_of
from ..io.fields import ModelName
from ..io.importing import module_file
from ..labelling.engines import Engine, ImportedEngine
from ..structures.electronic import (
    CHARGE,
    SPIN,
    ElectronicState,
    different_states,
    electronic_state,
)
from ..structures.mlip import mlip_results
from .build.models import build_descriptor
from .build.potentials import build_potential, given_shift, initial_potential
from .build.walkers import walker_options
from .config import ExploreConfig, ImportedPotentialConfig, MACEPotentialConfig
from .config.campaign import CampaignConfig
from .first_labels import FIRST

SAME = 1e-6
"""Energies (eV, and relative to them) and forces (eV/A) as close as this are the same."""


def try_engine(engine: Engine | None) -> None:
    """Make the calculator of an imported engine; nothing is computed.

    Raises
    ------
    ConfigError
        If that fails, or gives no calculator.
    """
    if not isinstance(engine, ImportedEngine):
        return
    try:
        engine.make(engine.parameters_of(0))
    except ConfigError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ConfigError(
            f"labelling.factory: {engine.factory!r} fails with these parameters "
            f"({reason_of(error)}; labelling.parameters)"
        ) from error


def try_potential(
    config: CampaignConfig,
    starts: Sequence[Atoms],
    train: Mapping[str, Sequence[Atoms]] | None = None,
) -> list[str]:
    """Make the potential and evaluate starts that hold all elements; returns what is doubtful.

    One that is imported is asked for differences of its energy too, see `disagreements`.

    Parameters
    ----------
    config
        Of the campaign.
    starts
        Where walkers begin.
    train
        The other structures that it is to be trained on, by the names of their files.

    Raises
    ------
    ConfigError
        If it cannot be made, if it fails on a start, if a stress is needed and there is none, or
        if forces and stress are not in the units of the energy: naming file and frame. A stress
        that nobody needs, and that is wrong by no known factor, is only doubtful. Also if it is to
        know several charges or multiplicities, and its results are the same for all, or if
        torch-sim is to move walkers with a potential that does not give the features.
    """
    if config.potential is None:
        return []
    potential = build_potential(config, initial_potential(config), None, given_shift(config))
    named, notes = "potential", list[str]()
    _check_dynamics(config, potential)
    if isinstance(config.potential, ImportedPotentialConfig):
        named, notes = f"potential.factory: {config.potential.factory!r}", _told(config.potential)
    chosen = covering(starts)
    for k in chosen:
        where = f"{config.explore.starts}, frame {k}"
        _evaluate(potential, starts[k], _needs_stress(config.explore, starts[k]), named, where)
    _check_states_matter(potential, {**(train or {}), str(config.explore.starts): starts}, named)
    if isinstance(config.potential, MACEPotentialConfig):
        return []
    smallest = min(chosen, key=lambda k: len(starts[k]))
    where = f"{config.explore.starts}, frame {smallest}"
    try:
        found = disagreements(potential, starts[smallest])
    except BayeselError as error:
        raise ConfigError(f"{named}: near {where}: {error}") from error
    stress = _needs_stress(config.explore, starts[smallest])
    wrong = [
        str(one) for one in found if one.wrong and (one.cause or stress or one.what == "forces")
    ]
    if wrong:
        raise ConfigError(
            f"{named}: near {where}, {'; '.join(wrong)}. Energies are eV, forces eV/A, and a "
            "stress is eV/A^3, positive under tension"
        )
    return [*notes, *(f"{named}: near {where}, {one}" for one in found)]


def _check_dynamics(config: CampaignConfig, potential: Calculator) -> None:
    """Refuse torch-sim where features and potential do not come from one pass."""
    if config.explore.dynamics != "torch_sim":
        return
    descriptor = build_descriptor(config, initial_potential(config))
    if tuple(getattr(descriptor, "states_read", ())):
        raise ConfigError(
            "explore.dynamics: torch_sim knows no charges and multiplicities, which this model "
            "reads; use dynamics: ase"
        )
    if not choose_evaluator(potential, descriptor).batchable:
        raise ConfigError(
            "explore.dynamics: torch_sim needs a descriptor whose is_model_of says that "
            "the potential gives its energies (potential.factory); use dynamics: ase"
        )


def _told(potential: ImportedPotentialConfig) -> list[str]:
    """What of a potential the campaign does not keep itself."""
    told = []
    if isinstance(potential.model, ModelName):
        told.append(
            f"potential.model: {potential.model.name!r} is a name, which the package resolves; "
            "nothing is copied, and its own cache holds the model"
        )
    file = module_file(potential.factory)
    if file is not None:
        told.append(f"potential.factory: is run from {file}, a file of your own")
    return told


def to_train_on(
    config: CampaignConfig, inputs: Mapping[str, Sequence[Atoms]]
) -> dict[str, Sequence[Atoms]]:
    """What `try_potential` takes as ``train``, of the structures of `check_inputs`."""
    names = {"train": str(config.data.train_file), **{f: f"data.train: {f}" for f in FIRST}}
    return {named: inputs[name] for name, named in names.items() if name in inputs}


def covering(frames: Sequence[Atoms]) -> list[int]:
    """Numbers of a few frames that hold all elements, the smallest ones first."""
    chosen, seen = [], set[str]()
    for k in sorted(range(len(frames)), key=lambda k: len(frames[k])):
        if new := set(frames[k].symbols) - seen:
            chosen.append(k)
            seen |= new
    return chosen


def _evaluate(
    potential: Calculator, atoms: Atoms, needs_stress: bool, named: str, where: str
) -> None:
    try:
        results = mlip_results(potential, atoms.copy(), needs_stress)
    except PropertyNotImplementedError as error:
        needed = " (explore.ensemble, explore.moves: a stress is needed)" if needs_stress else ""
        raise ConfigError(f"{named}: on {where}: {reason_of(error)}{needed}") from error
    except BayeselError as error:
        raise ConfigError(f"{named}: on {where}: {error}") from error
    for name, value in results._asdict().items():
        if value is not None and not np.isfinite(value).all():
            raise ConfigError(f"{named}: on {where}: {name} that is not finite")


def _check_states_matter(
    potential: Calculator, files: Mapping[str, Sequence[Atoms]], named: str
) -> None:
    """Refuse structures of several charges or multiplicities where the potential reads none."""
    places = [(file, k) for file, frames in files.items() for k in range(len(frames))]
    frames = [files[file][k] for file, k in places]
    for key in (CHARGE, SPIN):
        pair = different_states(frames, [key])
        if pair is None:
            continue
        first, second = (f"{places[k][0]}, frame {places[k][1]}" for k in pair)
        usual = getattr(ElectronicState(), key)
        chosen = next(k for k in pair if getattr(electronic_state(frames[k]), key) != usual)
        try:
            blind = _blind(potential, frames[chosen], key)
        except (BayeselError, PropertyNotImplementedError) as error:
            file, k = places[chosen]
            raise ConfigError(f"{named}: on {file}, frame {k}: {reason_of(error)}") from error
        if blind:
            raise ConfigError(
                f"{named}: {second} and {first} differ in {key!r}, and its energy and forces do "
                "not depend on it. No training can tell them apart; take structures of one state, "
                f"or a potential that reads atoms.info[{key!r}]"
            )


def _blind(potential: Calculator, atoms: Atoms, key: str) -> bool:
    """Whether the results are the same without the charge or the multiplicity."""
    usual, moved = atoms.copy(), atoms.copy()
    del usual.info[key]
    moved.positions[0] += 1e-3  # a calculator that keeps its last results does not look at info
    own, _, other = (mlip_results(potential, a, False) for a in (atoms.copy(), moved, usual))
    same = np.isclose(own.energy, other.energy, rtol=SAME, atol=SAME)
    return bool(same and np.allclose(own.forces, other.forces, rtol=0.0, atol=SAME))


def _needs_stress(explore: ExploreConfig, start: Atoms) -> bool:
    ensemble = walker_options(explore, start)["ensemble"]
    return bool(start.pbc.all()) and (isinstance(ensemble, NPT) or explore.has_cell_moves)
