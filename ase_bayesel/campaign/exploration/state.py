"""What an exploration is between two turns, or between two barriers: plain values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from ...bias.prediction import Evaluated
from ...dynamics.driver import DriverState
from ...dynamics.triggers import PickRule, PickState, TriggerReport
from ...dynamics.walkers import WalkerStep
from ...structures.identity import canonical, structure_id


def consider(
    rule: PickRule,
    waiting: PickState[Atoms],
    step: int,
    walker: int,
    seen: TriggerEvent | None,
    known: Collection[str],
) -> tuple[PickState[Atoms], Atoms | None]:
    """What the rule remembers after a sane frame, and the pick, if any: this frame or an earlier.

    ``seen`` is None where no trigger was evaluated; a pick whose id is ``known`` is none.
    """
    fired = seen is not None and seen.fired is not None
    pick = seen.pick(walker) if fired else None
    after, chosen = rule.see(waiting, pick, step, None if seen is None else seen.leading)
    if chosen is not None and chosen.info["bayesel_id"] in known:
        return PickState(waiting.last), None
    return after, chosen


def at_the_end(
    rule: PickRule, waiting: PickState[Atoms], known: Collection[str]
) -> tuple[PickState[Atoms], Atoms | None]:
    """The same at the end of a trajectory: the frame that waited, if any."""
    chosen = rule.end(waiting)
    if chosen is None or chosen.info["bayesel_id"] in known:
        return PickState(waiting.last), None
    return PickState(chosen.info["bayesel_step"]), chosen


TRACE_COLUMNS = ("walker", "step", "temperature_K", "energy_std", "value", "tau", "picked")


@dataclass(frozen=True)
class WalkerState:
    """A walker between two turns or barriers.

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
        What the lazy check of each trigger has learnt; empty between turns.
    waiting
        What the pick rule remembers: the walker's last pick, and the pick that waits to be
        the peak, if any.
    """

    atoms: Atoms
    rng_state: dict[str, Any]
    step: int = 0
    status: str = "running"
    driver: DriverState | None = None
    evaluated: Evaluated | None = None
    ratios: tuple[tuple[Any, ...], ...] = ()
    waiting: PickState[Atoms] = PickState()

    def generator(self) -> np.random.Generator:
        """A generator that goes on from ``rng_state``."""
        bits = np.random.PCG64()
        bits.state = self.rng_state
        return np.random.Generator(bits)


@dataclass(frozen=True)
class ExploreState:
    """Everything about a round's exploration between two turns or barriers.

    Attributes
    ----------
    walkers
        One state per walker.
    turn
        Index of the walker whose turn is next; 0 in lock-step.
    picks
        Picked structures in order, with origin and uncertainty attached.
    trace
        ``(n, 7)`` one row per trigger evaluation, in the order of the decisions;
        columns `TRACE_COLUMNS`. ``energy_std`` is eV per atom.
    """

    walkers: tuple[WalkerState, ...]
    turn: int = 0
    picks: tuple[Atoms, ...] = ()
    trace: np.ndarray = field(default_factory=lambda: np.zeros((0, len(TRACE_COLUMNS))))

    @property
    def living(self) -> dict[int, WalkerState]:
        """The walkers that can still run, by number."""
        return {k: w for k, w in enumerate(self.walkers) if w.status == "running"}

    @property
    def alive(self) -> bool:
        """Whether any walker can still run."""
        return bool(self.living)


@dataclass(frozen=True)
class TriggerEvent:
    """What the triggers saw at one frame of a walker: enough to pick it, and plain data.

    ``energy_std`` is eV. ``of_atoms`` holds what is known of each atom where a trigger fired,
    as it will stand in the pick: ``bayesel_local_energy_std`` (eV) in every case;
    ``bayesel_force_std`` (eV/A) where the exact deviations of all atoms are at hand. Where the
    leading atom was searched for, its deviation is part of the value, and
    ``bayesel_force_std_bound`` holds lower bounds for all.
    """

    atoms: Atoms
    step: int
    temperature_K: float
    energy_std: float
    tau: float
    reports: tuple[TriggerReport, ...]
    of_atoms: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, step: WalkerStep) -> TriggerEvent:
        """The event at a step whose triggers were evaluated."""
        found = step.prediction
        assert found is not None
        arrays = {}
        if step.fired is not None:
            arrays["bayesel_local_energy_std"] = found.local_energy_std.copy()
            if found.searched:
                arrays["bayesel_force_std_bound"] = found.force_std_bound.copy()
            else:
                arrays["bayesel_force_std"] = found.force_std.copy()
        return cls(
            step.atoms,
            step.step,
            step.temperature_K,
            found.energy_std,
            found.tau,
            step.reports,
            arrays,
        )

    @property
    def fired(self) -> TriggerReport | None:
        """The first trigger that fired, if any."""
        return next((report for report in self.reports if report.fired), None)

    @property
    def leading(self) -> TriggerReport:
        """`fired`, else the first report."""
        return self.fired or self.reports[0]

    def pick(self, walker: int) -> Atoms:
        """The structure as a pick, with its origin, the reason and its uncertainty."""
        report = self.fired
        assert report is not None
        pick = canonical(self.atoms)
        pick.info.update(
            bayesel_id=structure_id(pick),
            bayesel_walker=walker,
            bayesel_step=self.step,
            bayesel_trigger=report.name,
            bayesel_value=report.value,
            bayesel_threshold=report.threshold,
            bayesel_reason=str(report),
            bayesel_energy_std=self.energy_std,
        )
        if report.atom_index is not None:
            pick.info["bayesel_atom"] = report.atom_index
        pick.arrays.update(self.of_atoms)
        return pick

    def row(self, walker: int) -> list[float]:
        """The row of the trace; nothing is picked yet."""
        per_atom = self.energy_std / len(self.atoms)
        value = self.leading.value
        return [walker, self.step, self.temperature_K, per_atom, value, self.tau, False]


def start_exploration(starts: Sequence[Atoms], rngs: Sequence[np.random.Generator]) -> ExploreState:
    """The state before the first step: one walker per start; generators as of `default_rng`."""
    return ExploreState(
        tuple(
            WalkerState(atoms.copy(), dict(rng.bit_generator.state))
            for atoms, rng in zip(starts, rngs, strict=True)
        )
    )


def extended(trace: np.ndarray, rows: Sequence[Sequence[float]]) -> np.ndarray:
    """A trace with further rows."""
    return np.concatenate([trace, np.reshape(rows, (-1, len(TRACE_COLUMNS)))])


def count_moves(state: ExploreState, kinds: Sequence[str]) -> dict[str, list[int]]:
    """Attempts, accepted and failed ones of each kind of move, summed over the walkers."""
    counts = {kind: [0, 0, 0] for kind in kinds}
    for walker in state.walkers:
        for kind, move in zip(kinds, walker.driver.moves if walker.driver else (), strict=False):
            new = (move.attempts, move.accepted, move.failed)
            counts[kind] = [a + b for a, b in zip(counts[kind], new, strict=True)]
    return counts
