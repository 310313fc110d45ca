"""One round of exploration: several walkers on one posterior, in turn or in lock-step."""

from .lockstep import explore_in_lockstep, pass_barrier
from .picks import AtomDeviations, Pick, TriggerEvent
from .state import (
    TRACE_COLUMNS,
    ExploreState,
    WalkerState,
    count_moves,
    start_exploration,
)
from .turns import take_turn

__all__ = [
    "TRACE_COLUMNS",
    "AtomDeviations",
    "ExploreState",
    "Pick",
    "TriggerEvent",
    "WalkerState",
    "count_moves",
    "explore_in_lockstep",
    "pass_barrier",
    "start_exploration",
    "take_turn",
]
