"""The model of each round: a potential and the surrogate that knows its training set."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from ..errors import ConfigError, RefitError
from ..io.fields import ModelName
from ..io.model_files import check_files
from ..resources import Here
from ..structures.labels import targets, whole_atoms
from ..structures.reference_energies import reference_energies
from ..surrogate.calibration import calibrating
from ..surrogate.energy_weights import force_growth
from ..surrogate.fitting import (
    baseline_energies,
    energy_weights_of,
    hyperparameters_of,
    surrogate_at,
)
from ..surrogate.row_factors import DesignFactors
from ..surrogate.steps import Steps
from ..surrogate.surrogate import Surrogate
from ..surrogate.training_rows import TrainingRows
from .build.models import build_descriptor, build_refitter, force_projections
from .build.potentials import build_potential, initial_potential
from .build.resources import build_resource
from .config.campaign import CampaignConfig
from .config.models import given_model
from .energy_shift import missing_shift, read_shift, take_shift
from .events import Progress
from .exploration.pick_files import read_pick
from .fit_rows import assembling_rows
from .fit_warnings import fit_warnings, large_residuals
from .held_out import held_out, keep_held_out, never_trained
from .prior import knowing_prior
from .refit import RefitTask, refit_alone, refit_elsewhere
from .store import Store

Result = TypeVar("Result")
TOLD_EVERY = 20
"""So many structures are left out between two events."""


class RoundModel(NamedTuple):
    """The surrogate of a round, and what looks wrong of its fit, a line each."""

    surrogate: Surrogate
    warnings: tuple[str, ...]


def load_model(config: CampaignConfig, store: Store, number: int) -> tuple[Surrogate, Calculator]:
    """The surrogate and the potential that a round ended with."""
    file = store.potential_path(number)
    surrogate = Surrogate.load(store.model_path(number), build_descriptor(config, file))
    return surrogate, build_potential(config, file, surrogate, read_shift(config, store, number))


def make_model(
    config: CampaignConfig,
    store: Store,
    number: int,
    frames: Sequence[Atoms],
    n_initial: int,
    n_new: int,
    aside: Set[str] = frozenset(),
) -> Generator[Progress, None, RoundModel]:
    """Train the potential on the new labels, then fit the surrogate to all structures.

    The features of a refitted network are new ones, so the posterior is rebuilt from
    the whole training set. Prior data, and picks whose label failed or is set aside, enter its
    covariance alone. What is done already is not done again.

    Parameters
    ----------
    config, store, number
        The campaign and its round; round 0 takes the potential as it is given.
    frames
        The labelled training set: ``n_initial`` given ones first, ``n_new`` of this
        round last.
    aside
        Identities of the picks whose label is set aside.

    Raises
    ------
    RefitError
        If the potential cannot be trained; that of the round before stays in use.
    """
    keys = config.data.keys
    if number == 0:
        _take_given_potential(config, store)
    elif n_new:
        e0s = reference_energies(frames[:n_initial], config.data.e0s, keys.energy)
        yield from _train(config, store, number, frames, n_new, e0s)
    descriptor = build_descriptor(config, store.potential_path(number))
    yield from _told(take_shift(config, store, number, frames), number, len(frames), "energy shift")
    yield Progress(number, "fit", 0, len(frames))
    e0s = baseline_energies(frames, keys, config.data.e0s, apart=False)
    weights = config.weights
    growth = energy_weights_of(frames, keys, e0s, weights, config.hottest_K, descriptor.n_features)
    steps = assembling_rows(config, store, number, frames, descriptor, keys, e0s, growth)
    factors = yield from _counted(steps, number, len(frames))
    found = hyperparameters_of(factors, keys, weights)
    surrogate = surrogate_at(found, factors, descriptor, keys, e0s, growth)
    before = store.read_report(number - 1).noise if number else None
    n_rows_before = sum(map(_n_rows, frames[: len(frames) - n_new]))
    told = fit_warnings(found, surrogate, before, n_rows_before)
    rows = TrainingRows(frames, descriptor, force_projections(config.descriptor), store=store.rows)
    residuals = large_residuals(surrogate, frames, keys, n_initial, config.labels.max_force, rows)
    told += yield from _told(residuals, number, len(frames), "residuals of the training set")
    told += missing_shift(config, store, number, frames)
    surrogate = yield from _calibrated(config, store, number, rows, surrogate)
    fitted = surrogate
    surrogate = yield from knowing_prior(config, store, number, surrogate, factors)
    surrogate = _knowing_the_rest(surrogate, store, number, aside)
    store.save_model(number, surrogate, fitted)
    return RoundModel(surrogate, tuple(told))


def _calibrated(
    config: CampaignConfig, store: Store, number: int, rows: TrainingRows, surrogate: Surrogate
) -> Generator[Progress, None, Surrogate]:
    """`surrogate.calibration.calibrated`, by labels that are not extreme.

    A potential of its own is compared with what it was not trained on: the whole training set
    before the first refit, then what all refits have held out.
    """
    frames, keys, limit = rows.frames, config.data.keys, config.labels.max_force
    usual = [k for k, a in enumerate(frames) if force_growth(targets(a, keys).forces, limit) == 1.0]
    potential, unseen = None, set[int]()
    if config.potential is not None:
        shift = read_shift(config, store, number)
        potential = build_potential(config, store.potential_path(number), surrogate, shift)
        refitter = build_refitter(config) if number else None
        unseen.update(never_trained(store, number, refitter, len(frames)))
    steps = calibrating(
        surrogate,
        [frames[k] for k in usual],
        keys,
        force_projections(config.descriptor),
        potential,
        [place for place, k in enumerate(usual) if k in unseen],
        lambda places: rows.chosen([usual[place] for place in places]),
    )
    return (yield from _told(steps, number, len(frames), "training set left out in turn"))


def _told(
    steps: Generator[int, None, Result], number: int, total: int, detail: str
) -> Generator[Progress, None, Result]:
    """What becomes of steps over the training set, some of which are told."""
    counts = Steps(steps)
    for done in counts:
        if done % TOLD_EVERY == 0:
            yield Progress(number, "fit", done, total, detail)
    return counts.value


def _n_rows(atoms: Atoms) -> int:
    """Of energy and forces; of a cut-out the forces of whole atoms."""
    whole = whole_atoms(atoms)
    return 1 + 3 * len(atoms) if whole is None else 3 * int(whole.sum())


def _knowing_the_rest(
    surrogate: Surrogate, store: Store, number: int, aside: Set[str]
) -> Surrogate:
    """The surrogate whose covariance also knows the picks that are not in the fit.

    Else the walkers of the next round would go back to where labels cannot be had, or are useless.

    Parameters
    ----------
    surrogate
        Fitted to all the others; each pick enters with the weight that it had as a pick.
    store, number
        The campaign and its round.
    aside
        Identities of the picks whose label is not in the fit.
    """
    for k in range(1, number + 1):
        for place, label in enumerate(store.read_labelled(k)):
            if label.settings is None or label.identity in aside:
                pick = read_pick(store.exploration(k).pick_path(place, label.identity))
                surrogate = surrogate.condition(pick.structure, energies=pick.energies)
    return surrogate


def _take_given_potential(config: CampaignConfig, store: Store) -> None:
    given = initial_potential(config)
    if given is not None and store.potential_path(0) is None:
        store.save_potential(0, given)


def _train(
    config: CampaignConfig,
    store: Store,
    number: int,
    frames: Sequence[Atoms],
    n_new: int,
    e0s: Mapping[str, float],
) -> Iterator[Progress]:
    """Refit the potential of the round before, unless that is done or nothing is trained on."""
    refitter, kept = build_refitter(config), store.potential_path(number)
    first = store.potential_path(0)
    last = given_model(config.potential) if kept is None else kept.resolve()
    if refitter is None or last is None:
        return
    if kept is not None and kept.parent == store.round_directory(number):
        return
    assert not isinstance(last, tuple)  # which is kept from round 0 on
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0] >> 1)
    directory = store.refit_directory(number).resolve()
    keys, shift = config.data.keys, read_shift(config, store, number - 1)
    task = RefitTask(
        *(frames, n_new, keys, e0s, last, directory, seed, config.threads),
        energy_weights_of(frames, keys, e0s, config.weights, config.hottest_K),
        config.labels.max_force,
        None if first is None else first.resolve(),
        held_out(store, number, refitter, len(frames)),
        {} if shift is None else shift.energies,
    )
    resource = build_resource(config.workers.refit, config.threads, store.directory)
    if isinstance(resource, Here):
        steps = Steps(refit_alone(refitter, task))
    else:
        steps = Steps(refit_elsewhere(resource, refitter, task))
    for step in steps:
        yield Progress(number, "refit", *step)
    if steps.value is None:
        return
    _check_sane(config, steps.value, frames[-1], last)
    assert task.held_out is not None
    keep_held_out(store, number, len(frames), task.held_out)
    store.save_potential(number, steps.value)


def _check_sane(config: CampaignConfig, model: Path, atoms: Atoms, last: Path | ModelName) -> None:
    """Refuse a new model that cannot be read or copied, or that gives nonsense."""
    try:
        check_files(model, "refit")
        potential = build_potential(config, model, None)
    except ConfigError as error:
        raise RefitError(f"refit failed: {error}. The last good model is {last}") from error
    energy, forces = potential.get_potential_energy(atoms), potential.get_forces(atoms)
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise RefitError(
            f"refit failed: {model} gives values that are not finite for the newest structure. "
            f"The last good model is {last}"
        )


def _counted(
    steps: Generator[int, None, DesignFactors], number: int, total: int
) -> Generator[Progress, None, DesignFactors]:
    counts = Steps(steps)
    for done in counts:
        yield Progress(number, "fit", done, total)
    return counts.value
