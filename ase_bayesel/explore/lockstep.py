"""Walkers in lock-step: a pick by one reaches all the others at their next step.

All living walkers advance to the same barrier, a multiple of the check interval. There
the picks are taken in the order of the walkers, each under a posterior that knows the
picks before it. Everything is a function of the state at the barrier before, so that a
run that was killed goes on with the same picks, whoever advances the walkers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from ..structures import structure_id
from ..surrogate import Surrogate
from .blocks import Arrival, WalkerSetup, look_again
from .state import ExploreState, Sighting, WalkerState, extended

LookAgain = Callable[[Arrival, Surrogate], Sighting]


class Executor(Protocol):
    """Advances walkers, somewhere."""

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, Arrival]:
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
) -> Iterator[tuple[ExploreState, Surrogate]]:
    """State and surrogate after every barrier, until ``limit`` structures are picked or all ends.

    The iteration can be left at any barrier and taken up again with what it gave there.
    """
    again = partial(look_again, setup)
    while len(state.picks) < limit and state.alive:
        barrier = next_barrier(state, setup.check_interval)
        arrivals = executor.advance(state.living, barrier, surrogate)
        state, surrogate = pass_barrier(state, surrogate, arrivals, again, limit)
        yield state, surrogate


def next_barrier(state: ExploreState, check_interval: int) -> int:
    """The multiple of the check interval that lies next before the living walkers."""
    step = min(walker.step for walker in state.living.values())
    return (step // check_interval + 1) * check_interval


def pass_barrier(
    state: ExploreState,
    surrogate: Surrogate,
    arrivals: Mapping[int, Arrival],
    again: LookAgain,
    limit: int,
) -> tuple[ExploreState, Surrogate]:
    """Take the picks of one barrier in the order of the walkers; returns what comes after it.

    The first walker whose trigger fired picks and conditions the surrogate. One after it
    is looked at again under the new surrogate and picks only if it still fires. A structure
    that was picked before is not picked again. After a pick all walkers go on with the new
    surrogate from their next step; their running averages of tau are kept.
    """
    walkers, picks, rows = list(state.walkers), list(state.picks), []
    known = {structure_id(pick) for pick in picks}
    before = len(picks)
    for k in sorted(arrivals):
        walkers[k], seen = arrivals[k].walker, arrivals[k].sighting
        if seen is None:
            continue
        if seen.fired is not None and before < len(picks) < limit:
            seen = again(arrivals[k], surrogate)
        pick = None
        if seen.fired is not None and len(picks) < limit:
            pick = seen.pick(k, len(picks))
            pick = None if pick.info["bayesel_id"] in known else pick
        rows.append(seen.row(k, pick is not None))
        if pick is not None:
            picks.append(pick)
            known.add(pick.info["bayesel_id"])
            surrogate = surrogate.condition(pick)
    if len(picks) > before:
        walkers = [_with_new_surrogate(walker) for walker in walkers]
    trace = extended(state.trace, rows)
    return replace(state, walkers=tuple(walkers), picks=tuple(picks), trace=trace), surrogate


def _with_new_surrogate(walker: WalkerState) -> WalkerState:
    """What was evaluated or learnt with the last surrogate is void."""
    return replace(walker, evaluated=None, ratios=())
