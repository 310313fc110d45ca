"""Walkers in lock-step: a pick by one reaches all the others at their next step.

All living walkers advance to the same barrier, a multiple of the check interval. There
the picks are taken in the order of the walkers, each under a posterior that knows the
picks before it. Everything is a function of the state at the barrier before, so that a
run that was killed goes on with the same picks, whoever advances the walkers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
from ase import Atoms

from ...dynamics.triggers import PickRule, PickState
from ...structures.identity import structure_id
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult, WalkerSetup, look_again
from .state import (
    TRACE_COLUMNS,
    ExploreState,
    TriggerEvent,
    WalkerState,
    at_the_end,
    consider,
    extended,
)

LookAgain = Callable[[Atoms, Surrogate], TriggerEvent]
"""(pick, surrogate) -> what the triggers see there."""
WALKER, STEP, ENERGY_STD, VALUE, PICKED = (
    TRACE_COLUMNS.index(name) for name in ("walker", "step", "energy_std", "value", "picked")
)


class Executor(Protocol):
    """Advances walkers, somewhere."""

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, BlockResult]:
        """All walkers, by number, at the absolute step ``barrier``; see `advance_walker`.

        Raises
        ------
        Exception
            What a walker raises (see `run_walker`), with its number as a note.
        """
        ...


def explore_in_lockstep(
    state: ExploreState,
    surrogate: Surrogate,
    setup: WalkerSetup,
    executor: Executor,
    limit: int,
    rule: PickRule = PickRule(),
) -> Iterator[tuple[ExploreState, Surrogate]]:
    """State and surrogate after every barrier, until ``limit`` structures are picked or all ends.

    The iteration can be left at any barrier and taken up again with what it gave there.
    """
    again = partial(look_again, setup)
    while len(state.picks) < limit and state.alive:
        barrier = next_barrier(state, setup.check_interval)
        results = executor.advance(state.living, barrier, surrogate)
        state, surrogate = pass_barrier(state, surrogate, results, again, limit, rule)
        yield state, surrogate


def next_barrier(state: ExploreState, check_interval: int) -> int:
    """The multiple of the check interval that lies next before the living walkers."""
    step = min(walker.step for walker in state.living.values())
    return (step // check_interval + 1) * check_interval


def pass_barrier(
    state: ExploreState,
    surrogate: Surrogate,
    results: Mapping[int, BlockResult],
    again: LookAgain,
    limit: int,
    rule: PickRule = PickRule(),
) -> tuple[ExploreState, Surrogate]:
    """Take the picks of one barrier in the order of the walkers; returns what comes after it.

    The first walker that has a pick by the ``rule`` conditions the surrogate. One after it
    is looked at again under the new surrogate and picks only if it still fires. A structure
    that was picked before is not picked again. After a pick all walkers go on with the new
    surrogate from their next step, and none waits for a peak any more; their running
    averages of tau are kept.
    """
    walkers, picks = list(state.walkers), list(state.picks)
    known = {structure_id(pick) for pick in picks}
    before = len(picks)
    trace = _with_results(state.trace, results)
    for k, result in sorted(results.items()):
        waiting, pick = _proposed(rule, k, result, known)
        proposed = pick is not None
        if proposed and before < len(picks) < limit:
            now = again(pick, surrogate)
            _note(trace, k, now)
            pick = None if now.fired is None else now.pick(k)
        taken = pick is not None and len(picks) < limit
        kept = taken or not proposed
        walkers[k] = replace(result.walker, waiting=waiting) if kept else result.walker
        if taken:
            pick.info["bayesel_pick"] = len(picks)
            picks.append(pick)
            known.add(pick.info["bayesel_id"])
            surrogate = surrogate.condition(pick)
            trace[_row_of(trace, k, pick.info["bayesel_step"]), PICKED] = 1
    if len(picks) > before:
        walkers = [_with_new_surrogate(walker) for walker in walkers]
    return replace(state, walkers=tuple(walkers), picks=tuple(picks), trace=trace), surrogate


def _proposed(
    rule: PickRule, number: int, result: BlockResult, known: Collection[str]
) -> tuple[PickState[Atoms], Atoms | None]:
    """What the rule makes of a block under the surrogate with which the walker ran."""
    walker = result.walker
    if walker.status != "running":
        return at_the_end(rule, walker.waiting, known)
    return consider(rule, walker.waiting, walker.step, number, result.event, known)


def _with_results(trace: np.ndarray, results: Mapping[int, BlockResult]) -> np.ndarray:
    seen = {k: results[k].event for k in sorted(results)}
    return extended(trace, [one.row(k) for k, one in seen.items() if one is not None])


def _row_of(trace: np.ndarray, walker: int, step: int) -> int:
    """The last row of a walker's step."""
    return int(np.flatnonzero((trace[:, WALKER] == walker) & (trace[:, STEP] == step))[-1])


def _note(trace: np.ndarray, walker: int, now: TriggerEvent) -> None:
    """Let a row of the trace show what was decided upon."""
    row = _row_of(trace, walker, now.step)
    trace[row, VALUE] = now.leading.value
    trace[row, ENERGY_STD] = now.energy_std / len(now.atoms)


def _with_new_surrogate(walker: WalkerState) -> WalkerState:
    """What was evaluated, learnt or waited for with the last surrogate is void.

    The evaluation stays in the running averages of tau, see `BiasedCalculator.set_surrogate`.
    """
    driver, found, last = walker.driver, walker.evaluated, PickState[Atoms](walker.waiting.last)
    if driver is not None and found is not None:
        driver = replace(driver, tau=found.tau_state.after)
    return replace(walker, driver=driver, evaluated=None, ratios=(), waiting=last)
