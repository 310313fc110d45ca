"""Walkers in turn: each runs until it picks, so that every start gets its share of the picks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from ...bias.calculator import BiasedCalculator
from ...dynamics.driver import DriverState
from ...dynamics.triggers import PickRule
from ...dynamics.walkers import WalkerStep
from .picks import event_of, pick_after_frame, pick_at_end
from .state import PICKED, ExploreState, WalkerState, extended

StartWalker = Callable[[Atoms, np.random.Generator, int, DriverState | None], Iterator[WalkerStep]]
"""(start, rng, first step, state of the driver) -> the walker's steps."""


def take_turn(
    state: ExploreState,
    calculator: BiasedCalculator,
    start_walker: StartWalker,
    rule: PickRule = PickRule(),
) -> Generator[WalkerStep, None, ExploreState]:
    """Run the walker whose turn it is until it picks or ends; returns the next state.

    On a pick ``calculator.surrogate`` is replaced by the one conditioned on the
    picked structure. A structure that was picked before is not picked again. Where the ``rule``
    picks at the peak the pick is an earlier frame, and the walker goes on from the last one.

    Parameters
    ----------
    state
        Not changed.
    calculator
        Of the walkers, with the surrogate conditioned on the picks so far.
    start_walker
        Gives a walker's steps.
    rule
        Which of the frames that fire is picked.
    """
    turn = state.turn
    walker = state.walkers[turn]
    rng = walker.generator()
    known = {pick.structure_id for pick in state.picks}
    waiting = walker.waiting
    trace: dict[int, list[float]] = {}
    calculator.restore()
    final: WalkerStep | None = None
    status, pick = "finished", None
    for step in start_walker(walker.atoms, rng, walker.step, walker.driver):
        yield step
        final, status = step, "finished" if step.status == "running" else step.status
        if step.status != "running":
            continue
        event = event_of(step)
        if event is not None:
            trace[step.step] = event.row(turn)
        waiting, pick = pick_after_frame(rule, waiting, step.step, turn, event, known)
        if pick is not None:
            status = "running"
            break
    else:
        waiting, pick = pick_at_end(rule, waiting, known)
    picks = list(state.picks)
    if pick is not None:
        picks.append(replace(pick, number=len(picks)))
        surrogate = calculator.surrogate
        calculator.surrogate = surrogate.condition(pick.structure, energies=[pick.energy])
        trace[pick.step][PICKED] = True
    walkers = list(state.walkers)
    if final is not None:
        rng_state = dict(rng.bit_generator.state)
        driver = replace(final.driver, tau=final.driver.tau.emptied())
        walkers[turn] = WalkerState(
            final.atoms, rng_state, final.step, status, driver, waiting=waiting
        )
    else:
        walkers[turn] = replace(walker, status="finished")
    return ExploreState(
        tuple(walkers),
        _next_turn(walkers, turn),
        tuple(picks),
        extended(state.trace, list(trace.values())),
    )


def _next_turn(walkers: Sequence[WalkerState], turn: int) -> int:
    order = [(turn + k) % len(walkers) for k in range(1, len(walkers) + 1)]
    return next((k for k in order if walkers[k].status == "running"), turn)
