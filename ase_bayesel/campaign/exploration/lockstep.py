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

from ...dynamics.triggers import PickRule, PickState
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult, WalkerSetup, look_again
from .picks import Pick, TriggerEvent, pick_after_frame, pick_at_end
from .state import (
    ENERGY_STD,
    PICKED,
    STEP,
    VALUE,
    WALKER,
    ExploreState,
    WalkerState,
    extended,
)

LookAgain = Callable[[Pick, Surrogate], TriggerEvent]
"""(pick, surrogate) -> what the triggers see there."""


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

    Parameters
    ----------
    state, surrogate
        Where the exploration is, and the surrogate conditioned on the picks so far.
    setup
        How the walkers run.
    executor
        Advances them.
    limit
        Largest number of picks.
    rule
        Which of the frames that fire is picked.
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

    Parameters
    ----------
    state, surrogate
        As they were at the barrier before.
    results
        Of the living walkers, by number.
    again
        Looks at a pick under another surrogate, as `look_again`.
    limit
        Largest number of picks.
    rule
        Which of the frames that fire is picked.
    """
    walkers, picks = list(state.walkers), list(state.picks)
    known = {pick.structure_id for pick in picks}
    before = len(picks)
    trace = _with_results(state.trace, results)
    for k, result in sorted(results.items()):
        waiting, proposed = _proposed(rule, k, result, known)
        pick = proposed if len(picks) < limit else None
        if pick is not None and len(picks) > before:
            event = again(pick, surrogate)
            _note(trace, k, event)
            pick = pick.seen_again(event)
        if proposed is not None and pick is None:  # the rule remembers what it did before
            walkers[k] = result.walker
            continue
        walkers[k] = replace(result.walker, waiting=waiting)
        if pick is not None:
            picks.append(replace(pick, number=len(picks)))
            known.add(pick.structure_id)
            surrogate = surrogate.condition(pick.structure, energies=[pick.energy])
            trace[_row_of(trace, k, pick.step), PICKED] = 1
    if len(picks) > before:
        walkers = [_with_new_surrogate(walker) for walker in walkers]
    return replace(state, walkers=tuple(walkers), picks=tuple(picks), trace=trace), surrogate


def _proposed(
    rule: PickRule, number: int, result: BlockResult, known: Collection[str]
) -> tuple[PickState[Pick], Pick | None]:
    """What the rule makes of a block under the surrogate with which the walker ran."""
    walker = result.walker
    if walker.status != "running":
        return pick_at_end(rule, walker.waiting, known)
    return pick_after_frame(rule, walker.waiting, walker.step, number, result.event, known)


def _with_results(trace: np.ndarray, results: Mapping[int, BlockResult]) -> np.ndarray:
    events = {k: results[k].event for k in sorted(results)}
    return extended(trace, [event.row(k) for k, event in events.items() if event is not None])


def _row_of(trace: np.ndarray, walker: int, step: int) -> int:
    """The last row of a walker's step."""
    return int(np.flatnonzero((trace[:, WALKER] == walker) & (trace[:, STEP] == step))[-1])


def _note(trace: np.ndarray, walker: int, event: TriggerEvent) -> None:
    """Let a row of the trace show what was decided upon."""
    row = _row_of(trace, walker, event.step)
    trace[row, VALUE] = event.value
    trace[row, ENERGY_STD] = event.energy_std / len(event.atoms)


def _with_new_surrogate(walker: WalkerState) -> WalkerState:
    """What was evaluated, learnt or waited for with the last surrogate is void.

    The evaluation stays in the running averages of tau, see `BiasedCalculator.set_surrogate`.
    """
    driver, evaluated = walker.driver, walker.evaluated
    if driver is not None and evaluated is not None:
        driver = replace(driver, tau=evaluated.tau_state.after)
    waiting = PickState[Pick](walker.waiting.last)
    return replace(walker, driver=driver, evaluated=None, ratios=(), waiting=waiting)
