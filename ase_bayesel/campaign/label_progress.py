"""Calculations that have ended, as progress of a round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..labelling.labeller import HEARTBEAT_S, Labeller
from ..labelling.task import LabellingResult
from .events import Progress


def told(number: int, results: Sequence[LabellingResult], labeller: Labeller) -> Iterator[Progress]:
    """Calculations of a round that have ended, one event each.

    Parameters
    ----------
    number
        The round.
    results
        What `Labeller.ended` has just given.
    labeller
        That of the round.
    """
    for k, result in enumerate(results, start=1 - len(results)):
        detail = "" if result.ok else f"{result.structure_id} failed: {result.reason}"
        yield _progress(number, labeller, detail, k)


def until_all_ended(number: int, labeller: Labeller) -> Iterator[Progress]:
    """Wait for all calculations under way, and tell of each; as of `told`."""
    while labeller.n_running:
        ended = labeller.ended(HEARTBEAT_S)
        yield from told(number, ended, labeller)
        if not ended:
            yield _progress(number, labeller, f"{labeller.n_running} under way")
    yield from told(number, labeller.ended(), labeller)


def _progress(number: int, labeller: Labeller, detail: str, back: int = 0) -> Progress:
    done, asked = labeller.n_done + back, labeller.n_asked
    return Progress(number, "label", done, asked, detail, labels=labeller.tally())
