"""The round whose model is the one to use."""

from __future__ import annotations

from .events import best_round
from .rounds import Rounds


def made_test_set(rounds: Rounds) -> bool:
    """Whether a campaign has made its test set of the starts, as its first training set."""
    train = rounds.setting("data", "train")
    return rounds.setting("data", "test") is None and isinstance(train, dict)


def ranked_best(rounds: Rounds) -> int | None:
    """The round with the smallest errors on a test set that was given; else None.

    One that the campaign has made is drawn like its first labels. What a fit learns of where
    walkers go need not show in it, so that it ranks no rounds.
    """
    return None if made_test_set(rounds) else best_round(rounds.reports)


def final_round(rounds: Rounds) -> int:
    """The round whose model is the one to use: the best one, or else the last."""
    best = ranked_best(rounds)
    return len(rounds.reports) - 1 if best is None else best
