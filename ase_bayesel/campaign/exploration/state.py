"""What an exploration is between two barriers: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from ase import Atoms

from ...bias.prediction import Evaluated
from ...dynamics.driver_state import DriverState
from ...dynamics.triggers import PickState
from .picks import Candidate, Pick
from .trace import TRACE_COLUMNS, Ending, all_failed, endings_of


@dataclass(frozen=True)
class WalkerState:
    """A walker between two barriers.

    Attributes
    ----------
    atoms, step
        The frame with its momenta, and its absolute number.
    rng_state
        State of the bit generator, a PCG64.
    status
        ``"running"``, ``"finished"`` or the reason for which it was stopped.
    driver
        What the integrator, the moves and the bias go on with; None before the first step.
    evaluated
        The evaluation of the frame; None where the next step has to make it.
    ratios
        What the lazy check of each trigger has learnt.
    waiting
        What the pick rule remembers: the walker's last pick, and the pick that waits to be
        the peak, if any.
    trust_ratios
        What the lazy check of the bound of trust has learnt.
    since
        Absolute step of the walker's last start or restart.
    bound_after
        After how many steps of its life it last met its bound of trust; None for never.
    fired
        Whether a trigger of its or its bound has fired in the round.
    bias_energy
        Of its frame under the surrogate before the last pick, eV, where the difference is to be
        taken out of its heat; else None.
    offers
        Its most uncertain frame within the bound in each window of its walk (`RoundRules`).
    message
        What its calculator said, where that is why it was stopped.
    """

    atoms: Atoms
    rng_state: dict[str, Any]
    step: int = 0
    status: str = "running"
    driver: DriverState | None = None
    evaluated: Evaluated | None = None
    ratios: tuple[tuple[Any, ...], ...] = ()
    waiting: PickState[Pick] = PickState()
    trust_ratios: tuple[Any, ...] = ()
    since: int = 0
    bound_after: int | None = None
    fired: bool = False
    bias_energy: float | None = None
    offers: tuple[Pick, ...] = ()
    message: str = ""

    def generator(self) -> np.random.Generator:
        """A generator that goes on from ``rng_state``."""
        bits = np.random.PCG64()
        bits.state = cast(Any, self.rng_state)  # numpy's type of it is private
        return np.random.Generator(bits)


@dataclass(frozen=True)
class ExploreState:
    """Everything about a round's exploration between two barriers.

    Attributes
    ----------
    walkers
        One state per walker.
    turn
        Index of the walker whose turn it is; 0 in lock-step.
    picks
        In the order in which they entered the posterior.
    trace
        ``(n, 7)`` one row per check of the triggers, in the order of the decisions;
        columns `TRACE_COLUMNS`. ``energy_std`` is eV per atom. ``value`` is NaN where a lazy
        check (`LazyCheck`) said that none can fire, and none was evaluated.
    candidates
        Of which the batch is to be chosen, in the order of the barriers.
    """

    walkers: tuple[WalkerState, ...]
    turn: int = 0
    picks: tuple[Pick, ...] = ()
    trace: np.ndarray = field(default_factory=lambda: np.zeros((0, len(TRACE_COLUMNS))))
    candidates: tuple[Candidate, ...] = ()

    @property
    def living(self) -> dict[int, WalkerState]:
        """The walkers that can still run, by number."""
        return {k: w for k, w in enumerate(self.walkers) if w.status == "running"}

    @property
    def returns(self) -> int:
        """How often walkers met their bound of trust, all together."""
        return sum(len(w.driver.returns) for w in self.walkers if w.driver is not None)

    @property
    def endings(self) -> tuple[Ending, ...]:
        """How walkers were stopped."""
        return endings_of((w.step, w.status, w.message) for w in self.walkers)

    @property
    def failed(self) -> bool:
        """Whether all walkers have failed and left nothing behind."""
        found = bool(self.picks or self.candidates)
        return not found and all_failed(self.endings, len(self.walkers))

    @property
    def alive(self) -> bool:
        """Whether any walker can still run."""
        return bool(self.living)


def start_exploration(starts: Sequence[Atoms], rngs: Sequence[np.random.Generator]) -> ExploreState:
    """The state before the first step: one walker per start; generators as of `default_rng`."""
    return ExploreState(
        tuple(
            WalkerState(atoms.copy(), dict(rng.bit_generator.state))
            for atoms, rng in zip(starts, rngs, strict=True)
        )
    )


def count_moves(state: ExploreState, kinds: Sequence[str]) -> dict[str, list[int]]:
    """Attempts, accepted and failed ones of each kind of move, summed over the walkers."""
    counts = {kind: [0, 0, 0] for kind in kinds}
    for walker in state.walkers:
        for kind, move in zip(kinds, walker.driver.moves if walker.driver else (), strict=False):
            new = (move.attempts, move.accepted, move.failed)
            counts[kind] = [a + b for a, b in zip(counts[kind], new, strict=True)]
    return counts
