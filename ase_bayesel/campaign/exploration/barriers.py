"""Walkers from barrier to barrier: all together, or one after the other in turns.

All walkers that advance do so to the same barrier, a multiple of the check interval. There
the picks are taken in the order of the walkers, each under a posterior that knows the
picks before it. Everything is a function of the state at the barrier before, so that a
run that was killed goes on with the same picks, whoever advances the walkers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from ase import Atoms

from ...dynamics.driver_state import restarted
from ...dynamics.triggers import PickState
from ...structures.identity import structure_id
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult, WalkerSetup, look_again
from .picks import START_ENERGY, Candidate, Pick, TriggerEvent, pick_after_frame, pick_at_end
from .rules import RoundRules
from .state import ExploreState, WalkerState
from .trace import ENERGY_STD, PICKED, VALUE, extended, rows_of

LookAgain = Callable[[Pick | Candidate, Surrogate], TriggerEvent]
"""(structure, surrogate) -> what the triggers see there."""
OFFERED = "most uncertain in a window"
"""The reason of such a pick."""


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


def explore_to_barriers(
    state: ExploreState, surrogate: Surrogate, setup: WalkerSetup, executor: Executor, limit: int
) -> Iterator[tuple[ExploreState, Surrogate]]:
    """State and surrogate after every barrier, until the batch is full or all walkers have ended.

    The iteration can be left at any barrier and taken up again with what it gave there.

    Parameters
    ----------
    state, surrogate
        Where the exploration is, and the surrogate conditioned on the picks so far.
    setup
        How the walkers run, and by which rules they pick.
    executor
        Advances them.
    limit
        Largest number of picks.
    """
    again, rules = partial(look_again, setup), setup.rules
    starts = [plan.start for plan in setup.plans]
    while len(state.picks) < limit and state.alive and not rules.is_full(state):
        walkers = {state.turn: state.walkers[state.turn]} if rules.turns else state.living
        barrier = next_barrier(walkers, setup.check_interval)
        results = executor.advance(walkers, barrier, surrogate)
        state, surrogate = pass_barrier(state, surrogate, results, again, limit, rules, starts)
        yield state, surrogate


def next_barrier(walkers: Mapping[int, WalkerState], check_interval: int) -> int:
    """The multiple of the check interval that lies next before these walkers."""
    step = min(walker.step for walker in walkers.values())
    return (step // check_interval + 1) * check_interval


def pass_barrier(
    state: ExploreState,
    surrogate: Surrogate,
    results: Mapping[int, BlockResult],
    again: LookAgain,
    limit: int,
    rules: RoundRules,
    starts: Sequence[Atoms],
) -> tuple[ExploreState, Surrogate]:
    """Take the picks of one barrier in the order of the walkers; returns what comes after it.

    With ``batch: first`` the first walker that has a pick conditions the surrogate. One after it
    is looked at again under the new surrogate and picks only if it still fires. A structure
    that was picked before is not picked again, nor one for the energy of a start that has such a
    pick in this round: a network's deviations hardly fall by a pick. After a pick all walkers go
    on with the new surrogate from their next step, and none waits for a peak any more; their
    running averages of tau are kept. Where all walkers have ended the batch is filled up with what
    they offer, see `RoundRules`.

    Parameters
    ----------
    state, surrogate
        As they were at the barrier before.
    results
        Of the walkers that advanced, by number.
    again
        Looks at a structure under another surrogate, as `look_again`.
    limit
        Largest number of picks.
    rules
        How frames become picks.
    starts
        Of the walkers.
    """
    trace = _with_results(state.trace, results)
    barrier = _Barrier(
        rules, again, limit, starts, list(state.walkers), list(state.picks), surrogate, trace
    )
    candidates = list(state.candidates)
    for k, result in sorted(results.items()):
        barrier.walkers[k] = walker = _lived(state.walkers[k], result)
        if rules.batch == "joint":
            candidates += _candidates(rules, k, walker, result.event)
        else:
            barrier.settle(k, replace(result, walker=walker))
    arrived = replace(state, walkers=tuple(barrier.walkers))
    if rules.batch != "joint" and not arrived.alive and rules.fills_up(arrived):
        barrier.take_offers()
    new = barrier.picks[len(state.picks) :]
    if new and rules.batch == "first":
        barrier.walkers = [_with_new_surrogate(rules, walker) for walker in barrier.walkers]
    if rules.after_pick == "restart":
        for k in {pick.walker for pick in new}:
            barrier.walkers[k] = _at_start(barrier.walkers[k], starts[k])
    turn = _next_turn(barrier.walkers, state.turn, bool(new)) if rules.turns else state.turn
    after = ExploreState(
        tuple(barrier.walkers), turn, tuple(barrier.picks), barrier.trace, tuple(candidates)
    )
    return after, barrier.surrogate


@dataclass
class _Barrier:
    """What the walkers at one barrier have led to so far."""

    rules: RoundRules
    again: LookAgain
    limit: int
    starts: Sequence[Atoms]
    walkers: list[WalkerState]
    picks: list[Pick]
    surrogate: Surrogate
    trace: np.ndarray

    def __post_init__(self) -> None:
        self._known = {pick.structure_id for pick in self.picks}
        self._before = len(self.picks)

    def settle(self, k: int, result: BlockResult) -> None:
        """Let walker ``k`` pick, or note what it may offer later."""
        event = result.event
        if event is not None and event.at_start and self._start_is_picked(k):
            result = replace(result, event=event.without_start)
        waiting, proposed = _proposed(self.rules, k, result, self._known)
        pick = proposed if len(self.picks) < self.limit else None
        if pick is not None and self.rules.batch == "first" and len(self.picks) > self._before:
            event = self.again(pick, self.surrogate)
            _note(self.trace, k, event)
            pick = pick.seen_again(event)
        walker = self.walkers[k]
        if proposed is None or pick is not None:  # else the rule remembers what it did before
            walker = replace(walker, waiting=waiting)
        if pick is None:
            walker = replace(walker, offers=_offers(self.rules, k, walker, result.event))
        self.walkers[k] = walker
        if pick is not None:
            self._take(pick)

    def take_offers(self) -> None:
        """Fill the batch with the most uncertain offers."""
        offers = {o.structure_id: o for w in self.walkers for o in w.offers}
        while len(self.picks) < self.limit and (offers.keys() - self._known):
            seen = [
                (self.again(offer, self.surrogate), offer)
                for identity, offer in offers.items()
                if identity not in self._known
            ]
            event, offer = max(seen, key=lambda pair: pair[0].ratio)
            _note(self.trace, offer.walker, event)
            pick = Pick.of(event, offer.walker, OFFERED)
            self._take(replace(pick, temperature_K=offer.temperature_K, tau=offer.tau))

    def _start_is_picked(self, k: int) -> bool:
        """Whether the start of walker ``k`` has a pick for its energy."""
        own = structure_id(self.starts[k])
        walkers = {pick.walker for pick in self.picks if pick.report.name == START_ENERGY}
        return own in {structure_id(self.starts[walker]) for walker in walkers}

    def _take(self, frame: Pick) -> None:
        rule = self.rules.cut_out
        pick = frame if rule is None else frame.cut_out(rule)
        is_new = pick.structure_id not in self._known
        self._known |= {frame.structure_id, pick.structure_id}
        if not is_new:
            return
        self.picks.append(replace(pick, number=len(self.picks)))
        if self.rules.batch == "first":
            self.surrogate = self.surrogate.condition(pick.structure, energies=pick.energies)
        self.trace[rows_of(self.trace, pick.walker, pick.step)[-1], PICKED] = 1


def _lived(before: WalkerState, result: BlockResult) -> WalkerState:
    """The walker with what is known of its lives: it may have met its bound of trust."""
    after, event = result.walker, result.event
    if event is not None and event.walked_into:
        after = replace(after, fired=True)
    known = 0 if before.driver is None else len(before.driver.returns)
    for step in () if after.driver is None else after.driver.returns[known:]:
        after = replace(after, bound_after=step - after.since, since=step)
    return after


def _candidates(
    rules: RoundRules, number: int, walker: WalkerState, event: TriggerEvent | None
) -> list[Candidate]:
    """What a walker adds to the candidates: a frame that is due, and any at its bound."""
    if event is None:  # it has just been rolled back
        return []
    if event.at_bound:
        return [Candidate.of(event.atoms, number, event.step)]
    due = walker.step % rules.candidate_interval == 0 and rules.settled(walker)
    if walker.status != "running" or not due:
        return []
    return [Candidate.of(walker.atoms, number, walker.step)]


def _offers(
    rules: RoundRules, number: int, walker: WalkerState, event: TriggerEvent | None
) -> tuple[Pick, ...]:
    """The most uncertain frames within the bound, one of each window, after a barrier."""
    if event is None or event.deviations is None or event.at_bound:
        return walker.offers
    if walker.status != "running" or not rules.settled(walker):
        return walker.offers
    last, offered = rules.last_offer(walker), Pick.of(event, number)
    if last is None:
        return (*walker.offers, offered)
    if offered.report.ratio > last.report.ratio:
        return (*walker.offers[:-1], offered)
    return walker.offers


def _at_start(walker: WalkerState, start: Atoms) -> WalkerState:
    """The walker back at its start; momenta are drawn with its next step."""
    atoms, driver = restarted(walker.atoms, start, walker.driver, walker.step)
    return replace(
        walker,
        atoms=atoms,
        driver=driver,
        evaluated=None,
        ratios=(),
        since=walker.step,
        bias_energy=None,
    )


def _next_turn(walkers: Sequence[WalkerState], turn: int, picked: bool) -> int:
    if walkers[turn].status == "running" and not picked:
        return turn
    order = [(turn + k) % len(walkers) for k in range(1, len(walkers) + 1)]
    return next((k for k in order if walkers[k].status == "running"), turn)


def _proposed(
    rules: RoundRules, number: int, result: BlockResult, known: Collection[str]
) -> tuple[PickState[Pick], Pick | None]:
    """What the rule makes of a block under the surrogate with which the walker ran."""
    walker, event = result.walker, result.event
    if walker.status != "running":
        return pick_at_end(rules.pick, walker.waiting, known)
    if event is not None and not (event.at_bound or rules.settled(walker)):
        event = None
    return pick_after_frame(rules.pick, walker.waiting, walker.step, number, event, known)


def _with_results(trace: np.ndarray, results: Mapping[int, BlockResult]) -> np.ndarray:
    events = {k: results[k].event for k in sorted(results)}
    return extended(trace, [event.row(k) for k, event in events.items() if event is not None])


def _note(trace: np.ndarray, walker: int, event: TriggerEvent) -> None:
    """Let a row of the trace show what was decided upon."""
    row = rows_of(trace, walker, event.step)[-1]
    trace[row, VALUE] = event.value
    trace[row, ENERGY_STD] = event.energy_std / len(event.atoms)


def _with_new_surrogate(rules: RoundRules, walker: WalkerState) -> WalkerState:
    """What was evaluated, learnt or waited for with the last surrogate is void.

    The evaluation stays in the running averages of tau, see `BiasedCalculator.set_surrogate`.
    """
    driver, evaluated = walker.driver, walker.evaluated
    if driver is not None and evaluated is not None:
        driver = replace(driver, tau=evaluated.tau_state.after)
        bias_energy = evaluated.terms.energy if rules.absorb_heat else None
        walker = replace(walker, bias_energy=bias_energy)
    if rules.last_offer(walker) is not None:
        walker = replace(walker, offers=walker.offers[:-1])
    waiting = PickState[Pick](walker.waiting.last)
    return replace(walker, driver=driver, evaluated=None, ratios=(), waiting=waiting)
