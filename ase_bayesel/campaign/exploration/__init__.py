"""One round of exploration: several walkers on one posterior, in turn or in lock-step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...io.faces import lazy_names

if TYPE_CHECKING:
    from .barriers import explore_to_barriers, pass_barrier
    from .choice import Targets, choose_batch
    from .picks import AtomDeviations, Candidate, Pick, TriggerEvent
    from .rules import EarlyRefit, RoundRules
    from .state import ExploreState, WalkerState, count_moves, start_exploration
    from .trace import TRACE_COLUMNS

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
__getattr__ = lazy_names(
    __name__,
    {
        "AtomDeviations": ".picks",
        "Candidate": ".picks",
        "EarlyRefit": ".rules",
        "ExploreState": ".state",
        "Pick": ".picks",
        "RoundRules": ".rules",
        "TRACE_COLUMNS": ".trace",
        "Targets": ".choice",
        "TriggerEvent": ".picks",
        "WalkerState": ".state",
        "choose_batch": ".choice",
        "count_moves": ".state",
        "explore_to_barriers": ".barriers",
        "pass_barrier": ".barriers",
        "start_exploration": ".state",
    },
)
