"""The exploration of one round of a campaign, in turns or in lock-step, on whatever runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..bias.calculator import BiasedCalculator
from ..dynamics.driver import DriverState
from ..dynamics.recording import Recording, RoundRecorder
from ..dynamics.triggers import (
    LazyCheck,
    PickRule,
    force_search,
    uncalibrated,
    with_thresholds,
)
from ..dynamics.trust import Trust
from ..dynamics.walkers import WalkerStep, run_walker
from ..resources import Here, open_client
from ..resources.threads import cpu_threads
from ..surrogate.steps import Steps
from ..surrogate.surrogate import Surrogate
from .build.resources import build_resource
from .build.walkers import build_bias, build_tau_rule, walker_options
from .config.campaign import CampaignConfig
from .events import Progress
from .exploration import ExploreState, explore_in_lockstep, start_exploration, take_turn
from .exploration.blocks import BlockResult, WalkerPlan, WalkerSetup
from .exploration.local import LocalExecutor
from .exploration.lockstep import Executor
from .exploration.picks import Pick
from .exploration.state import WalkerState
from .round_model import load_model
from .store import Store
from .thresholds import calibrating

OnPicks = Callable[[Sequence[Pick]], None]
"""Is told of picks."""
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

    Parameters
    ----------
    config, store
        Of the campaign; the thresholds are kept in the store.
    number
        Of the round.
    train
        All structures behind the model of the round before.
    starts
        Of the round's walkers.
    """
    if uncalibrated(config.explore.trigger) and store.read_thresholds() is None:
        model = load_model(config, store, number - 1)
        yield from calibrating(config, store, number, model, train, starts)


def explore_round(
    config: CampaignConfig,
    store: Store,
    number: int,
    starts: Sequence[Atoms],
    limit: int,
    on_picks: OnPicks,
) -> Generator[Progress, None, ExploreState]:
    """Run the walkers of a round, from where the store has them, until ``limit`` picks.

    Returns the last state, which is also saved.

    Parameters
    ----------
    config, store
        Of the campaign.
    number
        Of the round.
    starts
        One per walker.
    limit
        Largest number of picks.
    on_picks
        Is told of picks once they are on disk.
    """
    setup = load_setup(config, store, number, starts)
    saved = store.exploration(number).load(starts)
    if saved is None:
        source = (config.seed, number, store.explored_before(number))
        seeds = np.random.SeedSequence(source).spawn(len(starts))
        state = start_exploration(starts, [np.random.default_rng(seed) for seed in seeds])
        surrogate = setup.surrogate
    else:
        state, posterior = saved
        surrogate = replace(setup.surrogate, posterior=posterior)
    if len(state.picks) >= limit or not state.alive:
        return state
    rule = config.explore.pick
    on_picks(state.picks)
    steps = [walker.step for walker in state.walkers]
    saving = Saving(store, number, store.recorder(number, setup.recording, steps), on_picks)
    if config.explore.mode == "turns":
        return (yield from _in_turns(saving, setup, state, surrogate, limit, rule))
    with _executor(config, store, number, setup, starts) as executor:
        recorded = RecordedExecutor(executor, saving.recorder)
        barriers = explore_in_lockstep(state, surrogate, setup, recorded, limit, rule)
        return (yield from _saved(saving, setup, state, barriers, limit))


def load_setup(
    config: CampaignConfig, store: Store, number: int, starts: Sequence[Atoms]
) -> WalkerSetup:
    """What the walkers of a round run with: the model of the round before, and the config.

    Parameters
    ----------
    config, store
        Of the campaign.
    number
        Of the round.
    starts
        One per walker.
    """
    explore = config.explore
    surrogate, potential = load_model(config, store, number - 1)
    triggers = [with_thresholds(explore.trigger, store.read_thresholds() or ())]
    bound = explore.trust_bound
    return WalkerSetup(
        surrogate,
        partial(
            BiasedCalculator,
            potential,
            tau=explore.tau,
            tau_rel=build_tau_rule(explore),
            force_search=force_search(explore.trigger),
            bias=build_bias(explore.bias),
        ),
        tuple(
            _plan(
                walker_options(explore, start, triggers=triggers),
                None if bound is None else bound.against(surrogate, start),
            )
            for start in starts
        ),
        explore.check_interval,
        Recording(explore.trajectory_interval, explore.log),
    )


def _plan(options: dict[str, Any], trust: Trust | None) -> WalkerPlan:
    """A walker's plan from the keyword arguments of `run_walker`, and its bound of trust."""
    checks = tuple(map(LazyCheck, options.pop("triggers")))
    return WalkerPlan(partial(run_walker, **options), checks, options["n_steps"], trust)


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
    resource = build_resource(config.workers.walkers, config.threads, store.directory)
    if isinstance(resource, Here):
        yield LocalExecutor(setup)
        return
    opened = OpenRound(config, store.directory.resolve(), number, starts)
    with open_client(resource) as client:
        from .exploration.dask_workers import dask_executor

        with dask_executor(client, opened, opened.token) as executor:
            yield executor


@dataclass(frozen=True)
class Saving:
    """Saves a round: what its walkers did first, then the state that says so."""

    store: Store
    number: int
    recorder: RoundRecorder
    on_picks: OnPicks

    def save(self, state: ExploreState, surrogate: Surrogate, known: int) -> None:
        """Save a state with picks beyond the ``known`` ones of the state before."""
        new = state.picks[known:]
        self.recorder.flush((pick.walker, pick.step) for pick in new)
        self.store.exploration(self.number).save(state, surrogate.posterior)
        self.on_picks(new)


@dataclass(frozen=True)
class RecordedExecutor:
    """An executor whose walkers are recorded."""

    executor: Executor
    recorder: RoundRecorder

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, BlockResult]:
        """All walkers at the barrier; see `exploration.lockstep.Executor`."""
        results = self.executor.advance(walkers, barrier, surrogate)
        for number, result in results.items():
            self.recorder.write(number, result.record)
        return results


def _saved(
    saving: Saving,
    setup: WalkerSetup,
    state: ExploreState,
    barriers: Iterator[tuple[ExploreState, Surrogate]],
    limit: int,
) -> Generator[Progress, None, ExploreState]:
    """Save at every pick, at the end, now and then, and when it is left; returns the last state."""
    total = sum(plan.n_steps for plan in setup.plans)
    last_save, unsaved = time.monotonic(), None
    try:
        for after, surrogate in barriers:
            known, state = len(state.picks), after
            unsaved = partial(saving.save, state, surrogate, known)
            picked = len(state.picks) > known
            if picked or not state.alive or time.monotonic() > last_save + SAVE_EVERY_S:
                unsaved()
                last_save, unsaved = time.monotonic(), None
            yield _progress(saving.number, state, total, limit)
    except (GeneratorExit, KeyboardInterrupt):
        if unsaved is not None:
            unsaved()
        raise
    return state


def _progress(number: int, state: ExploreState, total: int, limit: int) -> Progress:
    alive = f"{len(state.living)} of {len(state.walkers)} walkers"
    warnings = [w.driver.thermostat.warning for w in state.walkers if w.driver is not None]
    told = next((f", {warning}" for warning in warnings if warning), "")
    detail = f"{alive}, {len(state.picks)}/{limit} picks{told}"
    return Progress(number, "explore", sum(w.step for w in state.walkers), total, detail)


def _in_turns(
    saving: Saving,
    setup: WalkerSetup,
    state: ExploreState,
    surrogate: Surrogate,
    limit: int,
    rule: PickRule,
) -> Generator[Progress, None, ExploreState]:
    """One walker after the other, each until it picks; returns the last state."""
    calculator = setup.make_calculator(surrogate)
    while len(state.picks) < limit and state.alive:
        start = partial(_in_turn, setup.plans[state.turn], saving.recorder, state.turn, calculator)
        turn, known = take_turn(state, calculator, start, rule), len(state.picks)
        state = yield from _watched(setup, saving.number, turn, state, limit)
        saving.save(state, calculator.surrogate, known)
    return state


def _in_turn(
    plan: WalkerPlan,
    recorder: RoundRecorder,
    number: int,
    calculator: BiasedCalculator,
    atoms: Atoms,
    rng: np.random.Generator,
    first_step: int,
    driver: DriverState | None,
) -> Iterator[WalkerStep]:
    """A walker's steps in its turn; see `exploration.turns.StartWalker`."""
    steps = plan.run(
        atoms,
        calculator,
        rng=rng,
        triggers=plan.checks,
        trust=plan.trust,
        first_step=first_step,
        state=driver,
    )
    return recorder.watch(number, first_step, steps)


def _watched(
    setup: WalkerSetup,
    number: int,
    turn: Generator[WalkerStep, None, ExploreState],
    state: ExploreState,
    limit: int,
) -> Generator[Progress, None, ExploreState]:
    """A turn's steps as progress; returns the state after it."""
    total = sum(plan.n_steps for plan in setup.plans)
    others = sum(w.step for w in state.walkers) - state.walkers[state.turn].step
    detail = f"walker {state.turn}, {len(state.picks)}/{limit} picks"
    steps = Steps(turn)
    for step in steps:
        told = f"{detail}, {step.warning}" if step.warning else detail
        yield Progress(number, "explore", others + step.step, total, told)
    return steps.value
