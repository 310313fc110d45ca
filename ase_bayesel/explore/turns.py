"""Walkers in turn: each runs until it picks, so that every start gets its share of the picks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from ..bias import TauHistory
from ..calculator import BiasedCalculator
from ..driver import DriverState
from ..structures import structure_id
from ..walkers import WalkerStep
from .state import ExploreState, Sighting, WalkerState, extended

StartWalker = Callable[[Atoms, np.random.Generator, int, DriverState | None], Iterator[WalkerStep]]
"""(start, rng, first step, state of the driver) -> the walker's steps."""


def take_turn(
    state: ExploreState, calculator: BiasedCalculator, start_walker: StartWalker
) -> Generator[WalkerStep, None, ExploreState]:
    """Run the walker whose turn it is until it picks or ends; returns the next state.

    On a pick ``calculator.surrogate`` is replaced by the one conditioned on the
    picked structure. A structure that was picked before is not picked again.
    """
    walker = state.walkers[state.turn]
    rng = walker.generator()
    known = {structure_id(pick) for pick in state.picks}
    trace, picks = [], list(state.picks)
    calculator.forget()
    final, status = None, "finished"
    for step in start_walker(walker.atoms, rng, walker.step, walker.driver):
        yield step
        final, status = step, "finished" if step.status == "running" else step.status
        if not step.reports:
            continue
        seen = Sighting.of(step)
        pick = None if seen.fired is None else seen.pick(state.turn, len(picks))
        if pick is not None and pick.info["bayesel_id"] in known:
            pick = None
        trace.append(seen.row(state.turn, pick is not None))
        if pick is not None:
            picks.append(pick)
            calculator.surrogate = calculator.surrogate.condition(pick)
            status = "running"
            break
    walkers = list(state.walkers)
    if final is not None:
        rng_state = dict(rng.bit_generator.state)
        driver = replace(final.driver, tau=TauHistory())
        walkers[state.turn] = WalkerState(final.atoms, rng_state, final.step, status, driver)
    else:
        walkers[state.turn] = replace(walker, status="finished")
    return ExploreState(
        tuple(walkers),
        _next_turn(walkers, state.turn),
        tuple(picks),
        extended(state.trace, trace),
    )


def _next_turn(walkers: Sequence[WalkerState], turn: int) -> int:
    order = [(turn + k) % len(walkers) for k in range(1, len(walkers) + 1)]
    return next((k for k in order if walkers[k].status == "running"), turn)
