"""The pick rule on sightings: which frame of a walker becomes a pick, and when."""

from __future__ import annotations

from collections.abc import Collection

from ase import Atoms

from ..triggers import PickRule, PickState
from .state import Sighting


def consider(
    rule: PickRule,
    waiting: PickState[Atoms],
    step: int,
    walker: int,
    seen: Sighting | None,
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
