"""The HTML page of a campaign. It reads the store only, and stands alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from ...campaign.events import Event, RoundReport
from ...campaign.history import History
from ...campaign.store import Store
from ..calibration import COLUMNS, pick_table
from ..pages import rendered
from .figures import panels
from .structures import embedded
from .tables import label_lines, pick_rows, side_by_side, warning_lines
from .trigger import trigger_text
from .verdict import verdict


def write_report(store: Store) -> Path:
    """Write ``report.html`` (self-contained) into the campaign directory; returns its path."""
    history = History(store)
    page = rendered(
        "report.html",
        name=store.directory.resolve().name,
        reports=history.reports,
        hours=history.hours(),
        trigger=trigger_text(history.trigger, iter(store.read_thresholds() or ())),
        verdict=verdict(history),
        columns=COLUMNS,
        foretold=pick_table(store, history.reports),
        picks=pick_rows(history),
        walkers=side_by_side(history),
        labels=label_lines(history),
        warnings=warning_lines(history),
        groups=panels(history),
        structures=embedded(history.picks, history.reports),
    )
    return store.write_page("report.html", page)


def reported(events: Generator[Event, None, None], store: Store) -> Generator[Event, None, None]:
    """The events of a campaign; after each round its page is written anew."""
    with closing(events):
        for event in events:
            if isinstance(event, RoundReport):
                write_report(store)
            yield event
