"""Which structures no refit of a campaign has trained on, by their places in the training set.

What a refit holds out is kept in `FILE` of its round: a later config may hold out others, and what
has been trained on once tells nothing of a network's errors any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from ..errors import StoreError
from ..io.atomic import write_atomically
from .refit import Refitter
from .store import Store

FILE = "held_out.json"


class OfRefit(NamedTuple):
    """How many structures there were, and the places of those held out."""

    n_frames: int
    places: tuple[int, ...]


_OF_REFIT = TypeAdapter(OfRefit)


def held_out(store: Store, number: int, refitter: Refitter, n_frames: int) -> list[int]:
    """Places of what the refit of a round is not to train on, and none before has.

    Parameters
    ----------
    store, number
        The campaign and its round.
    refitter
        That of the round.
    n_frames
        Size of the training set.
    """
    return _without_trained(store, number - 1, refitter.unseen(n_frames))


def never_trained(store: Store, number: int, refitter: Refitter | None, n_frames: int) -> list[int]:
    """Places of what the potential of a round was not trained on.

    Parameters
    ----------
    store, number, n_frames
        As of `held_out`.
    refitter
        That of the config; None before the first refit, and where there is none.
    """
    places = range(n_frames) if refitter is None else refitter.unseen(n_frames)
    return _without_trained(store, number, places)


def keep_held_out(store: Store, number: int, n_frames: int, places: Iterable[int]) -> None:
    """Note what the refit of a round has not trained on.

    Parameters
    ----------
    store, number, n_frames
        As of `held_out`.
    places
        What that gave.
    """
    content = _OF_REFIT.dump_json(OfRefit(n_frames, tuple(places)))
    write_atomically(_path(store, number), content)


def _without_trained(store: Store, number: int, places: Iterable[int]) -> list[int]:
    """Those of some places that the refits up to a round have held out, each of them."""
    kept = list(places)
    for k in range(1, number + 1):
        path = _path(store, k)
        if path.exists():
            n_frames, own = _read(path)
            kept = [place for place in kept if place >= n_frames or place in own]
    return kept


def _read(path: Path) -> OfRefit:
    try:
        return _OF_REFIT.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({error})") from error


def _path(store: Store, number: int) -> Path:
    return store.round_directory(number) / FILE
