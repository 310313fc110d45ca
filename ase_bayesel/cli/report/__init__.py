"""The HTML page of a campaign. It reads the store only, and stands alone."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from ...campaign.events import Event, RoundReport
from ...campaign.history import History
from ...campaign.stopping import leading
from ...campaign.store import Store
from ..calibration import COLUMNS, pick_table
from ..pages import rendered
from .figures import panels
from .structures import embedded
from .tables import (
    label_lines,
    pick_rows,
    property_rows,
    shift_rows,
    side_by_side,
    walker_ends,
    warning_lines,
)
from .trigger import start_text, trigger_text
from .verdict import verdict

SHARE = 0.1
"""Of the time of a run that pages between rounds may take."""


def write_report(store: Store) -> Path:
    """Write ``report.html`` (self-contained) into the campaign directory; returns its path."""
    history = History(store)
    page = rendered(
        "report.html",
        name=store.directory.resolve().name,
        reports=history.reports,
        walker_ends=walker_ends,
        hours=history.hours(),
        gains=_gains(history),
        trigger=trigger_text(history.trigger, iter(store.read_thresholds() or ()))
        + start_text(history.config["explore"]),
        verdict=verdict(history),
        properties=property_rows(history),
        columns=COLUMNS,
        foretold=pick_table(store, history.reports),
        picks=pick_rows(history),
        walkers=side_by_side(history),
        labels=label_lines(history),
        warnings=warning_lines(history),
        shifts=shift_rows(history),
        groups=panels(history),
        structures=embedded(history.picks, history.reports),
    )
    return store.write_page("report.html", page)


def _gains(history: History) -> list[float | None] | None:
    """What the batch after each round is to lower; None beside a network, which it is not of."""
    if not history.linear:
        return None
    return [None if (found := leading(r)) is None else found.gain for r in history.reports]


def reported(events: Generator[Event, None, None], store: Store) -> Generator[Event, None, None]:
    """The events of a campaign; after each round its page is written anew.

    Where rounds are quick it is left out, so that pages take no more than `SHARE` of the time.
    """
    began, spent = time.monotonic(), 0.0
    with closing(events):
        for event in events:
            now = time.monotonic()
            if isinstance(event, RoundReport) and spent <= SHARE * (now - began):
                write_report(store)
                spent += time.monotonic() - now
            yield event
