"""How the frames of a round's walkers become its batch: plain values and pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...dynamics.triggers import EnergyTrigger, PickRule
from ...io.magnitudes import Count, Femtoseconds, Positive
from ...structures.environments import CutOut
from .picks import START_ENERGY, Pick
from .state import ExploreState, WalkerState

Batch = Literal["first", "stale", "joint"]
Offers = Literal["never", "fired", "always"]
AfterPick = Literal["go_on", "restart"]


@dataclass(frozen=True)
class EarlyRefit:
    """When a batch is full before it has all of its picks.

    A poor potential gains more from an early refit than from further picks, and shows it:
    walkers keep meeting their bound of trust soon after their start. With ``min_picks`` or more,
    the batch closes as soon as every walker that still runs met its bound within ``soon_fs`` (fs)
    of its last start or restart, and has not lived longer than that since.
    """

    min_picks: Count = 5
    soon_fs: Femtoseconds = 200.0


@dataclass(frozen=True)
class StartEnergy(EnergyTrigger):
    """The energy of a walker's start, at the first look after it.

    A structure that no label resembles may be off by a constant energy, as a strained cell or
    another phase is. No force shows it, so that no trigger by forces ever asks for a label there.
    Further on the walk energies ask for none.
    """

    kind: ClassVar[str] = START_ENERGY
    calibrated: bool = True


@dataclass(frozen=True)
class RoundRules:
    """How frames become picks in one round.

    Attributes
    ----------
    pick
        Which of the frames that fire is picked.
    batch
        ``"first"``: a frame that fires is a pick, and the posterior takes it up at once.
        ``"stale"``: the same without that update. ``"joint"``: walkers fill a list of candidates,
        of which the batch is chosen when they have ended.
    turns
        One walker after the other, each until it picks; otherwise all advance together.
    after_pick
        Where a walker goes on: from the pick, or from its start with new momenta.
    timestep_fs
        fs.
    early_refit
        When a batch is full before it has all of its picks; None for never.
    candidate_interval
        MD steps between two candidates of a walker, for ``"joint"``.
    offers
        Whether a batch is filled up when all walkers have ended: in rounds in which something has
        fired, in all, or in none.
    offer_interval
        MD steps of a walker's windows: in each it offers its most uncertain frame within the bound,
        of those since the posterior last changed.
    absorb_heat
        Whether what a pick lifts the biased surface under a walker is taken out of its kinetic
        energy.
    start_energy
        Threshold of `StartEnergy`, eV/atom, for ``batch: first``; None for none.
    cut_out
        How the environment of an atom becomes the pick in place of a frame; None for whole frames.
    """

    pick: PickRule = PickRule()
    batch: Batch = "first"
    turns: bool = False
    after_pick: AfterPick = "go_on"
    timestep_fs: float = 1.0
    early_refit: EarlyRefit | None = None
    candidate_interval: int = 20
    offers: Offers = "fired"
    offer_interval: int = 1000
    absorb_heat: bool = False
    start_energy: Positive | None = None
    cut_out: CutOut | None = None

    def has_ended(self, state: ExploreState, limit: int) -> bool:
        """Whether a round explores no further: all picks, no walker that runs, or a full batch."""
        ended = len(state.picks) >= limit or not state.alive or self.is_full(state)
        # the choice among the candidates is made when all walkers have ended
        return ended and not (self.batch == "joint" and state.candidates and not state.picks)

    def settled(self, walker: WalkerState) -> bool:
        """Whether the walker is far enough from its last start or restart for a pick."""
        return walker.step - walker.since >= self._steps(self.pick.settling_fs)

    def at_start(self, walker: WalkerState, step: int, interval: int) -> StartEnergy | None:
        """What looks at the energy of a walker at a barrier, where it is the first since its start.

        ``interval`` is the number of steps between two barriers.
        """
        after = step - walker.since - max(self._steps(self.pick.settling_fs), 1)
        first = self.batch == "first" and 0 <= after < interval
        return StartEnergy(self.start_energy) if first and self.start_energy is not None else None

    def fills_up(self, state: ExploreState) -> bool:
        """Whether frames where nothing fired may be picked when all walkers have ended."""
        fired = any(walker.fired for walker in state.walkers)
        return self.offers == "always" or (self.offers == "fired" and fired)

    def last_offer(self, walker: WalkerState) -> Pick | None:
        """What the walker offers so far in its present window."""
        interval, last = self.offer_interval, next(reversed(walker.offers), None)
        if last is None or last.step // interval < walker.step // interval:
            return None
        return last

    def is_full(self, state: ExploreState) -> bool:
        """Whether the batch closes with the picks that it has (`EarlyRefit`)."""
        rule, running = self.early_refit, state.living.values()
        if rule is None or not running or len(state.picks) < rule.min_picks:
            return False
        soon = self._steps(rule.soon_fs)
        return all(
            walker.bound_after is not None
            and max(walker.bound_after, walker.step - walker.since) <= soon
            for walker in running
        )

    def _steps(self, time_fs: float) -> int:
        return math.ceil(time_fs / self.timestep_fs - 1e-9)
