"""When a campaign ends."""

from __future__ import annotations

from ..io.words import counted
from .config import StopConfig
from .store import Store


def reason_to_end(stop: StopConfig, store: Store, number: int) -> str | None:
    """Why a campaign ends before a round; None where it goes on.

    Parameters
    ----------
    stop
        The config's section.
    store, number
        The campaign, and the round that would be the next one.
    """
    if number > stop.max_rounds:
        one = stop.max_rounds == 1
        return "the one round is done" if one else f"all {stop.max_rounds} rounds are done"
    if number > 1 and store.read_report(number - 1).picks == 0:
        return f"nothing triggered in round {number - 1}"
    if labels_left(stop, store, number) == 0:
        return f"the budget of {counted(stop.max_labels or 0, 'label')} is spent"
    return None


def way_on(stop: StopConfig, store: Store, number: int) -> str:
    """What to change where a campaign has ended and is to go on; parameters as `reason_to_end`.

    Empty where `bayesel run` goes on by itself, and where nothing triggered: what was seen says
    more then.
    """
    if number > stop.max_rounds:
        return f"raise stop.max_rounds (now {stop.max_rounds}) in the config and run again"
    if number > 1 and store.read_report(number - 1).picks == 0:
        return ""
    if labels_left(stop, store, number) == 0:
        return f"raise stop.max_labels (now {stop.max_labels}) in the config and run again"
    return ""


def labels_left(stop: StopConfig, store: Store, number: int) -> int | None:
    """How many structures may still be picked from a round on; None for any number."""
    if stop.max_labels is None:
        return None
    return max(0, stop.max_labels - sum(store.read_report(k).picks for k in range(number)))
