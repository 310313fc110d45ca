"""What a config names is made and tried on starts, so that a wrong setup fails before round 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from ..bias.consistency import disagreements
from ..bias.evaluators import choose_evaluator
from ..dynamics.ensembles import NPT
from ..dynamics.moves import CellMove
from ..errors import BayeselError, ConfigError
from ..io.failures import is_failure, reason_of
from ..io.fields import ModelName
from ..io.importing import module_file
from ..labelling.engines import Engine, ImportedEngine
from ..structures.mlip import mlip_results
from .build.models import build_descriptor
from .build.potentials import build_potential, given_shift, initial_potential
from .build.walkers import walker_options
from .config import ExploreConfig, ImportedPotentialConfig, MACEPotentialConfig
from .config.campaign import CampaignConfig


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


def try_potential(config: CampaignConfig, starts: Sequence[Atoms]) -> list[str]:
    """Make the potential and evaluate starts that hold all elements; returns what is doubtful.

    One that is imported is asked for differences of its energy too, see `disagreements`.

    Raises
    ------
    ConfigError
        If it cannot be made, if it fails on a start, if a stress is needed and there is none, or
        if forces and stress are not in the units of the energy: naming file and frame. A stress
        that nobody needs, and that is wrong by no known factor, is only doubtful. Also if
        torch-sim is to move walkers with a potential that does not give the features.
    """
    if config.potential is None:
        return []
    potential = build_potential(config, initial_potential(config), None, given_shift(config))
    named, notes = "potential", list[str]()
    if isinstance(config.potential, ImportedPotentialConfig):
        _check_dynamics(config, potential)
        named, notes = f"potential.factory: {config.potential.factory!r}", _told(config.potential)
    chosen = covering(starts)
    for k in chosen:
        where = f"{config.explore.starts}, frame {k}"
        _evaluate(potential, starts[k], _needs_stress(config.explore, starts[k]), named, where)
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
    if config.explore.dynamics == "ase":
        return
    descriptor = build_descriptor(config, initial_potential(config))
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


def _needs_stress(explore: ExploreConfig, start: Atoms) -> bool:
    ensemble = walker_options(explore, start)["ensemble"]
    cell_moves = any(isinstance(move, CellMove) for move in explore.moves)
    return bool(start.pbc.all()) and (isinstance(ensemble, NPT) or cell_moves)
