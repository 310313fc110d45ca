"""One round of exploration: several walkers on one posterior, in turn or in lock-step."""

from .barriers import explore_to_barriers, pass_barrier
from .choice import Targets, choose_batch
from .picks import AtomDeviations, Candidate, Pick, TriggerEvent
from .rules import EarlyRefit, RoundRules
from .state import (
    TRACE_COLUMNS,
    ExploreState,
    WalkerState,
    count_moves,
    start_exploration,
)

__all__ = [
    "TRACE_COLUMNS",
    "AtomDeviations",
    "Candidate",
    "EarlyRefit",
    "ExploreState",
    "Pick",
    "RoundRules",
    "Targets",
    "TriggerEvent",
    "WalkerState",
    "choose_batch",
    "count_moves",
    "explore_to_barriers",
    "pass_barrier",
    "start_exploration",
]
