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
from ..dynamics.recording import Recording, RoundRecorder
from ..dynamics.triggers import LazyCheck, force_search, uncalibrated, with_thresholds
from ..dynamics.trust import TrustBound
from ..dynamics.walkers import run_walker
from ..errors import ExplorationError
from ..resources import Here, ProcessPool, open_client
from ..resources.threads import cpu_threads
from ..surrogate.surrogate import Surrogate
from .build.resources import build_resource
from .build.walkers import build_bias, build_tau_rule, walker_options
from .config.campaign import CampaignConfig
from .events import Progress, named
from .exploration import (
    ExploreState,
    Pick,
    RoundRules,
    Targets,
    choose_batch,
    explore_to_barriers,
    start_exploration,
)
from .exploration.barriers import Executor
from .exploration.blocks import BlockResult, WalkerPlan, WalkerSetup
from .exploration.local import LocalExecutor
from .exploration.pool_workers import pool_executor
from .exploration.state import WalkerState
from .explore_progress import Telling
from .passes import same_passes
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

    Returns the last state, which is also saved. Where all walkers have failed in the run before,
    the round is moved aside and explored anew.

    Parameters
    ----------
    config, store
        Of the campaign.
    number
        Of the round.
    starts
        One per biased walker.
    limit
        Largest number of picks.
    on_picks
        Is told of picks once they are on disk.

    Raises
    ------
    ExplorationError
        If all walkers fail before anything is picked, with what they say.
    """
    if store.exploration(number).has_failed():
        store.reopen_round(number, False)
    if config.explore.unbiased_walkers:
        starts = [*starts, *starts]
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
    if setup.rules.has_ended(state, limit):
        return state
    on_picks(state.picks)
    steps = [walker.step for walker in state.walkers]
    tell = Telling(number, setup, limit, config.explore.trust_bound)
    saving = Saving(store, number, store.recorder(number, setup.recording, steps), on_picks)
    with _executor(config, store, number, setup, starts) as executor:
        recorded = RecordedExecutor(executor, saving.recorder)
        barriers = explore_to_barriers(state, surrogate, setup, recorded, limit)
        state = yield from _saved(saving, tell, state, barriers)
    if state.failed:
        raise ExplorationError(
            f"round {number}: all walkers have failed, and nothing was picked: "
            f"{'; '.join(named(state.endings))}. Correct that and run again: the round is then "
            "explored anew"
        )
    if setup.rules.batch != "joint":
        return state
    yield tell(state)
    chosen = choose_batch(state, setup, limit, _targets(config, store))
    saving.save(chosen, setup.surrogate, len(state.picks))
    return chosen


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
        One per walker; those beyond ``explore.walkers`` are of unbiased ones.
    """
    explore = config.explore
    surrogate, potential = load_model(config, store, number - 1)
    triggers = [with_thresholds(explore.trigger, store.read_thresholds() or ())]
    plans = []
    for k, start in enumerate(starts):
        options = walker_options(explore, start, triggers=triggers)
        if k >= explore.walkers:
            options["tau_rel"] = 0.0
        plans.append(_plan(options, start, explore.trust_bound, surrogate))
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
        tuple(plans),
        explore.check_interval,
        _rules(config),
        Recording(explore.trajectory_interval, explore.log),
    )


def _plan(
    options: dict[str, Any], start: Atoms, bound: TrustBound | None, surrogate: Surrogate
) -> WalkerPlan:
    """A walker's plan from the keyword arguments of `run_walker`, and its bound of trust."""
    triggers = options.pop("triggers")
    trust = None if bound is None else bound.against(surrogate, start, triggers)
    checks = tuple(map(LazyCheck, triggers))
    return WalkerPlan(partial(run_walker, **options), start, checks, options["n_steps"], trust)


def _rules(config: CampaignConfig) -> RoundRules:
    explore = config.explore
    interval = explore.check_interval
    return RoundRules(
        explore.pick,
        explore.batch,
        explore.mode == "turns",
        explore.after_pick,
        explore.timestep_fs,
        explore.early_refit,
        -(-explore.candidate_interval // interval) * interval,
        explore.offers,
        max(explore.steps // -(-explore.picks // explore.walkers), interval),
        explore.absorb_heat,
        explore.start_energy_limit,
        config.cut_out,
    )


def _targets(config: CampaignConfig, store: Store) -> Targets:
    """What a batch that is chosen together aims at."""
    if config.explore.targets == "file":
        return Targets(frames=tuple(store.read_input("targets")))
    return Targets(config.explore.walkers if config.explore.targets == "unbiased" else 0)


@dataclass(frozen=True)
class OpenRound:
    """`load_setup` for a process of its own, with the threads of the config."""

    config: CampaignConfig
    directory: Path
    number: int
    starts: Sequence[Atoms]

    @contextmanager
    def __call__(self) -> Iterator[WalkerSetup]:
        store = Store(self.directory)
        with cpu_threads(self.config.threads), same_passes(self.config, store):
            yield load_setup(self.config, store, self.number, self.starts)

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
    if isinstance(resource, ProcessPool):
        with pool_executor(resource, opened) as executor:
            yield executor
        return
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
        """All walkers at the barrier; see `exploration.barriers.Executor`."""
        results = self.executor.advance(walkers, barrier, surrogate)
        for number, result in results.items():
            self.recorder.write(number, result.record)
        return results


def _saved(
    saving: Saving,
    tell: Telling,
    state: ExploreState,
    barriers: Iterator[tuple[ExploreState, Surrogate]],
) -> Generator[Progress, None, ExploreState]:
    """Save at every pick, at the end, now and then, and when it is left; returns the last state."""
    last_save, unsaved = time.monotonic(), None
    try:
        for after, surrogate in barriers:
            known, state = len(state.picks), after
            unsaved = partial(saving.save, state, surrogate, known)
            picked = len(state.picks) > known
            if picked or not state.alive or time.monotonic() > last_save + SAVE_EVERY_S:
                unsaved()
                last_save, unsaved = time.monotonic(), None
            yield tell(state)
    except (GeneratorExit, KeyboardInterrupt):
        if unsaved is not None:
            unsaved()
        raise
    return state
