"""One round of exploration: several walkers in turn, all on one posterior.

A walker runs until it picks a structure or ends; a pick updates the covariance
at once, without a label, and hands the turn to the next walker. All state
between two turns is in `ExploreState`, so a run can be taken up again there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms

from .bias import TauHistory
from .calculator import BiasedCalculator
from .driver import DriverState
from .structures import canonical, structure_id
from .walkers import WalkerStep

StartWalker = Callable[[Atoms, np.random.Generator, int, DriverState | None], Iterator[WalkerStep]]
"""(start, rng, first step, state of the driver) -> the walker's steps."""

TRACE_COLUMNS = ("walker", "step", "temperature_K", "energy_std", "value", "tau", "picked")


@dataclass(frozen=True)
class WalkerState:
    """A walker between two of its turns.

    ``status`` is ``"running"``, ``"finished"`` or the reason for which it was
    stopped; ``rng_state`` is the bit generator's state; ``driver`` is None before the
    first turn.
    """

    atoms: Atoms
    rng_state: dict[str, Any]
    step: int = 0
    status: str = "running"
    driver: DriverState | None = None


@dataclass(frozen=True)
class ExploreState:
    """Everything about a round's exploration between two turns.

    Attributes
    ----------
    walkers
        One state per walker.
    turn
        Index of the walker whose turn is next.
    picks
        Picked structures in order, with origin and uncertainty attached.
    trace
        ``(n, 7)`` one row per trigger evaluation; columns `TRACE_COLUMNS`.
        ``energy_std`` is eV per atom.
    """

    walkers: tuple[WalkerState, ...]
    turn: int = 0
    picks: tuple[Atoms, ...] = ()
    trace: np.ndarray = field(default_factory=lambda: np.zeros((0, len(TRACE_COLUMNS))))

    @property
    def alive(self) -> bool:
        """Whether any walker can still run."""
        return any(walker.status == "running" for walker in self.walkers)


def start_exploration(starts: Sequence[Atoms], rngs: Sequence[np.random.Generator]) -> ExploreState:
    """The state before the first turn: one walker per start; generators as of `default_rng`."""
    return ExploreState(
        tuple(
            WalkerState(atoms.copy(), dict(rng.bit_generator.state))
            for atoms, rng in zip(starts, rngs, strict=True)
        )
    )


def take_turn(
    state: ExploreState, calculator: BiasedCalculator, start_walker: StartWalker
) -> Generator[WalkerStep, None, ExploreState]:
    """Run the walker whose turn it is until it picks or ends; returns the next state.

    On a pick ``calculator.surrogate`` is replaced by the one conditioned on the
    picked structure. A structure that was picked before is not picked again.
    """
    walker = state.walkers[state.turn]
    bits = np.random.PCG64()
    bits.state = walker.rng_state
    rng = np.random.Generator(bits)
    known = {structure_id(pick) for pick in state.picks}
    trace, picks = [], list(state.picks)
    calculator.forget()
    final, status = None, "finished"
    for step in start_walker(walker.atoms, rng, walker.step, walker.driver):
        yield step
        final, status = step, "finished" if step.status == "running" else step.status
        pick = None
        if step.fired is not None:
            pick = _picked(step, state.turn)
            pick = None if pick.info["bayesel_id"] in known else pick
        if step.reports:
            trace.append(_trace_row(step, state.turn, pick is not None))
        if pick is not None:
            picks.append(pick)
            calculator.surrogate = calculator.surrogate.condition(pick)
            status = "running"
            break
    walkers = list(state.walkers)
    if final is not None:
        driver = replace(final.driver, tau=TauHistory())
        walkers[state.turn] = WalkerState(final.atoms, dict(bits.state), final.step, status, driver)
    else:
        walkers[state.turn] = replace(walker, status="finished")
    return ExploreState(
        tuple(walkers),
        _next_turn(walkers, state.turn),
        tuple(picks),
        np.concatenate([state.trace, np.reshape(trace, (-1, len(TRACE_COLUMNS)))]),
    )


def _next_turn(walkers: Sequence[WalkerState], turn: int) -> int:
    order = [(turn + k) % len(walkers) for k in range(1, len(walkers) + 1)]
    return next((k for k in order if walkers[k].status == "running"), turn)


def _picked(step: WalkerStep, walker: int) -> Atoms:
    report = step.fired
    assert report is not None
    assert step.prediction is not None
    pick = canonical(step.atoms)
    pick.info.update(
        bayesel_id=structure_id(pick),
        bayesel_walker=walker,
        bayesel_step=step.step,
        bayesel_trigger=report.name,
        bayesel_value=report.value,
        bayesel_threshold=report.threshold,
        bayesel_energy_std=step.prediction.energy_std,
    )
    if report.atom_index is not None:
        pick.info["bayesel_atom"] = report.atom_index
    if not step.prediction.searched:
        pick.arrays["bayesel_force_std"] = step.prediction.force_std.copy()
    return pick


def _trace_row(step: WalkerStep, walker: int, picked: bool) -> list[float]:
    report = step.fired or step.reports[0]
    prediction = step.prediction
    assert prediction is not None
    per_atom = prediction.energy_std / len(step.atoms)
    return [walker, step.step, step.temperature_K, per_atom, report.value, prediction.tau, picked]
