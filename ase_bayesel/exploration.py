"""The exploration of one round of a campaign, in turns or in lock-step, on whatever runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms

from .build import (
    build_force_search,
    build_guards,
    build_pick_rule,
    build_tau_rule,
    build_trigger,
    cpu_threads,
    uncalibrated,
)
from .build_md import build_ensemble, build_moves
from .calculator import BiasedCalculator
from .config import CampaignConfig
from .driver import DriverState
from .explore import ExploreState, explore_in_lockstep, start_exploration, take_turn
from .explore.blocks import WalkerSetup
from .explore.local import LocalExecutor
from .explore.lockstep import Executor
from .models import Progress, load_model
from .sections import ExploreConfig
from .store import Store
from .surrogate import Surrogate
from .thresholds import calibrating
from .triggers import Guards, LazyCheck, Trigger
from .walkers import WalkerStep, run_walker

SAVE_EVERY_S = 10.0
"""Longest time between two saves in lock-step, where nothing is picked."""


def calibrate(
    config: CampaignConfig,
    store: Store,
    number: int,
    train: Sequence[Atoms],
    starts: Sequence[Atoms],
) -> Iterator[Progress]:
    """Find the thresholds that the config leaves open, once for the whole campaign.

    ``train`` are all structures behind the model of the round before.
    """
    if uncalibrated(config.explore) and store.read_thresholds() is None:
        model = load_model(config, store, number - 1)
        plainly = partial(_plainly, config.explore)
        yield from calibrating(config, store, number, model, train, starts, plainly)


def explore_round(
    config: CampaignConfig, store: Store, number: int, starts: Sequence[Atoms], limit: int
) -> Generator[Progress, None, ExploreState]:
    """Run the walkers of a round, from where the store has them, until ``limit`` picks.

    Returns the last state, which is also saved.
    """
    setup = load_setup(config, store, number, starts)
    saved = store.load_exploration(number, starts)
    if saved is None:
        seeds = np.random.SeedSequence((config.seed, number)).spawn(len(starts))
        state = start_exploration(starts, [np.random.default_rng(seed) for seed in seeds])
        surrogate = setup.surrogate
    else:
        state, posterior = saved
        surrogate = replace(setup.surrogate, posterior=posterior)
    if len(state.picks) >= limit or not state.alive:
        return state
    if config.explore.mode == "turns":
        return (yield from _in_turns(config, store, number, setup, state, surrogate, limit))
    with _executor(config, store, number, setup, starts) as executor:
        rule = build_pick_rule(config.explore)
        barriers = explore_in_lockstep(state, surrogate, setup, executor, limit, rule)
        return (yield from _saved(config, store, number, state, barriers, limit))


def load_setup(
    config: CampaignConfig, store: Store, number: int, starts: Sequence[Atoms]
) -> WalkerSetup:
    """What the walkers of a round run with: the model of the round before, and the config."""
    explore = config.explore
    surrogate, potential = load_model(config, store, number - 1)
    guards = build_guards(explore)
    return WalkerSetup(
        surrogate,
        partial(
            BiasedCalculator,
            potential,
            tau=explore.tau,
            tau_rel=build_tau_rule(explore),
            force_search=build_force_search(explore),
        ),
        _runner(explore, explore.steps),
        tuple(guards.against(start) for start in starts),
        (LazyCheck(build_trigger(explore, store.read_thresholds() or ())),),
        explore.check_interval,
    )


def _runner(explore: ExploreConfig, n_steps: int) -> Callable[..., Iterator[WalkerStep]]:
    """`run_walker` with what the config says."""
    return partial(
        run_walker,
        n_steps=n_steps,
        temperature_K=explore.temperature_K,
        timestep_fs=explore.timestep_fs,
        ensemble=build_ensemble(explore.ensemble),
        pressure_GPa=explore.pressure_GPa,
        tau_rel=explore.tau_rel,
        moves=build_moves(explore.moves),
        max_rollbacks=explore.max_rollbacks,
        check_interval=explore.check_interval,
    )


def _plainly(
    explore: ExploreConfig,
    calculator: BiasedCalculator,
    triggers: Sequence[Trigger],
    n_steps: int,
    start: Atoms,
    atoms: Atoms,
    rng: np.random.Generator,
) -> Iterator[WalkerStep]:
    """The campaign's MD for a calibration; see `thresholds.Plainly`."""
    guards = build_guards(explore).against(start)
    plain = _runner(explore.model_copy(update={"tau_rel": None}), n_steps)
    return plain(atoms, calculator, rng=rng, triggers=triggers, guards=guards)


@dataclass(frozen=True)
class OpenRound:
    """`load_setup` for a process of its own, with the threads of the config."""

    config: CampaignConfig
    directory: Path
    number: int
    starts: Sequence[Atoms]

    @contextmanager
    def __call__(self) -> Iterator[WalkerSetup]:
        with cpu_threads(self.config.threads):
            yield load_setup(self.config, Store(self.directory), self.number, self.starts)

    @property
    def token(self) -> str:
        """Names the round."""
        return f"ase_bayesel {self.directory} {self.number}"


@contextmanager
def _executor(
    config: CampaignConfig,
    store: Store,
    number: int,
    setup: WalkerSetup,
    starts: Sequence[Atoms],
) -> Iterator[Executor]:
    """What advances the walkers of a round, and ends with it."""
    workers = config.explore.workers
    if workers.kind == "batched":
        yield LocalExecutor(setup)
        return
    from .explore.dask_workers import dask_executor, local_processes, running_cluster

    opened = OpenRound(config, store.directory.resolve(), number, starts)
    clients = (
        local_processes(workers.n_workers)
        if workers.kind == "processes"
        else running_cluster(workers.scheduler)
    )
    with clients as client, dask_executor(client, opened, opened.token) as executor:
        yield executor


def _saved(
    config: CampaignConfig,
    store: Store,
    number: int,
    state: ExploreState,
    barriers: Iterator[tuple[ExploreState, Surrogate]],
    limit: int,
) -> Generator[Progress, None, ExploreState]:
    """Save at every pick, at the end, and now and then; returns the last state."""
    total = len(state.walkers) * config.explore.steps
    last_save = time.monotonic()
    for after, surrogate in barriers:
        picked = len(after.picks) > len(state.picks)
        state = after
        if picked or not state.alive or time.monotonic() > last_save + SAVE_EVERY_S:
            store.save_exploration(number, state, surrogate.posterior)
            last_save = time.monotonic()
        alive = f"{len(state.living)} of {len(state.walkers)} walkers"
        detail = f"{alive}, {len(state.picks)}/{limit} picks"
        yield Progress(number, "explore", sum(w.step for w in state.walkers), total, detail)
    return state


def _in_turns(
    config: CampaignConfig,
    store: Store,
    number: int,
    setup: WalkerSetup,
    state: ExploreState,
    surrogate: Surrogate,
    limit: int,
) -> Generator[Progress, None, ExploreState]:
    """One walker after the other, each until it picks; returns the last state."""
    calculator = setup.make_calculator(surrogate)

    rule = build_pick_rule(config.explore)
    while len(state.picks) < limit and state.alive:
        start = partial(_in_turn, setup, calculator, setup.guards[state.turn])
        turn = take_turn(state, calculator, start, rule)
        state = yield from _watched(config, number, turn, state, limit)
        store.save_exploration(number, state, calculator.surrogate.posterior)
    return state


def _in_turn(
    setup: WalkerSetup,
    calculator: BiasedCalculator,
    guards: Guards,
    atoms: Atoms,
    rng: np.random.Generator,
    first_step: int,
    driver: DriverState | None,
) -> Iterator[WalkerStep]:
    """A walker's steps in its turn; see `explore.turns.StartWalker`."""
    return setup.run(
        atoms,
        calculator,
        rng=rng,
        triggers=setup.checks,
        guards=guards,
        first_step=first_step,
        state=driver,
    )


def _watched(
    config: CampaignConfig,
    number: int,
    turn: Generator[WalkerStep, None, ExploreState],
    state: ExploreState,
    limit: int,
) -> Generator[Progress, None, ExploreState]:
    """A turn's steps as progress; returns the state after it."""
    total = len(state.walkers) * config.explore.steps
    others = sum(w.step for w in state.walkers) - state.walkers[state.turn].step
    detail = f"walker {state.turn}, {len(state.picks)}/{limit} picks"
    while True:
        try:
            step = next(turn)
        except StopIteration as end:
            return end.value
        yield Progress(number, "explore", others + step.step, total, detail)
