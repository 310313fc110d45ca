"""What a run says of the model that it ends with."""

from __future__ import annotations

from collections.abc import Iterator

from ..campaign.final_round import final_round, ranked_best
from ..campaign.history import History
from ..campaign.loading_lines import round_lines
from ..campaign.store import Store


def model_lines(store: Store) -> Iterator[str]:
    """The model to use (`final_round`): which it is, its file, and how to load it.

    Parameters
    ----------
    store
        A campaign of which a round is done.
    """
    history = History(store)
    number, which = final_round(history), "last" if ranked_best(history) is None else "best"
    path = store.potential_path(number) or store.model_path(number)
    yield f"{which} model: {path} (round {number} of {len(history.reports) - 1}); in Python:"
    yield from round_lines(store, number)
