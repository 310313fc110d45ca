"""The round whose model is the one to use."""

from __future__ import annotations

from .events import best_round
from .history import History


def made_test_set(history: History) -> bool:
    """Whether a campaign has made its test set of the starts, as its first training set."""
    train = history.setting("data", "train")
    return history.setting("data", "test") is None and isinstance(train, dict)


def ranked_best(history: History) -> int | None:
    """The round with the smallest error on a test set that was given; else None.

    One that the campaign has made holds small displacements of the starts. Walkers go further,
    and what a fit learns there counts for nothing in it, so that it ranks no rounds.
    """
    return None if made_test_set(history) else best_round(history.reports)


def final_round(history: History) -> int:
    """The round whose model is the one to use: the best one, or else the last."""
    best = ranked_best(history)
    return len(history.reports) - 1 if best is None else best
