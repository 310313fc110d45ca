"""What an exploration tells of itself at each barrier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dynamics.trust import TrustBound
from ..io.words import counted
from .events import Progress, WalkerNow
from .exploration import ExploreState
from .exploration.blocks import WalkerPlan, WalkerSetup
from .exploration.state import WalkerState
from .exploration.trace import TEMPERATURE, VALUE, WALKER

LATELY = 20
"""So many checks of each walker are looked through for one that was evaluated."""


@dataclass(frozen=True)
class Telling:
    """From states of an exploration to its progress.

    Attributes
    ----------
    number, setup, limit
        The round, how its walkers run, and the largest number of picks.
    bound
        The config's bound of trust.
    """

    number: int
    setup: WalkerSetup
    limit: int
    bound: TrustBound | None = None

    def __call__(self, state: ExploreState) -> Progress:
        """How far the walkers are."""
        setup = self.setup
        walkers = f"{len(state.living)} of {counted(len(state.walkers), 'walker')}"
        if setup.rules.turns:
            walkers = f"walker {state.turn}"
        found = f"{len(state.picks)}/{counted(self.limit, 'pick')}"
        if setup.rules.batch == "joint":
            found = counted(len(state.candidates), "candidate")
        warnings = (
            f"walker {k}: {walker.driver.thermostat.warning}"
            for k, walker in enumerate(state.walkers)
            if walker.driver is not None and walker.driver.thermostat.warning
        )
        recent = state.trace[-LATELY * len(state.walkers) :]
        now = (
            self._now(plan, walker, recent[recent[:, WALKER] == k])
            for k, (plan, walker) in enumerate(zip(setup.plans, state.walkers, strict=True))
        )
        return Progress(
            self.number,
            "explore",
            sum(walker.step for walker in state.walkers),
            sum(plan.n_steps for plan in setup.plans),
            f"{walkers}, {found}",
            walkers=tuple(now),
            warnings=tuple(warnings),
        )

    def _now(self, plan: WalkerPlan, walker: WalkerState, rows: np.ndarray) -> WalkerNow:
        """``rows`` are the walker's last ones of the trace."""
        known = rows[np.isfinite(rows[:, VALUE])]
        threshold = plan.checks[0].trigger.threshold
        factor = None if self.bound is None else self.bound.factor
        return WalkerNow(
            walker.step,
            plan.n_steps,
            walker.status,
            float(rows[-1, TEMPERATURE]) if len(rows) else None,
            float(known[-1, VALUE]) if len(known) else None,
            threshold,
            None if factor is None else factor * threshold,
            0 if walker.driver is None else len(walker.driver.returns),
        )
