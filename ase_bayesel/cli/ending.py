"""What a run says of the model that it ends with."""

from __future__ import annotations

from collections.abc import Iterator

from ..campaign.events import best_round
from ..campaign.loading_lines import round_lines
from ..campaign.store import Store


def model_lines(store: Store) -> Iterator[str]:
    """Which model is the best one on the test set, or else the last; its file, and how to load it.

    Parameters
    ----------
    store
        A campaign of which a round is done.
    """
    done = store.completed_rounds()
    best = best_round([store.read_report(k) for k in range(done)])
    number = done - 1 if best is None else best
    which = "last" if best is None else "best"
    path = store.potential_path(number) or store.model_path(number)
    yield f"{which} model: {path} (round {number} of {done - 1}); in Python:"
    yield from round_lines(store, number)
