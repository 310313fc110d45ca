"""A campaign's run as it is shown: progress bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import closing

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from ..campaign.events import Ended, Event, Progress, RoundReport
from ..validation.parity import milli
from .stopping import StopRequests

log = logging.getLogger("bayesel")
LOG_EVERY = 0.1
"""Fraction of a stage after which a plain log gets its next line."""


def show(
    events: Generator[Event, None, None], requests: StopRequests, console: Console
) -> str | None:
    """Run a campaign and show how it goes; returns why it ended, None if it was asked to stop.

    Parameters
    ----------
    events
        `Campaign.run`.
    """
    return (_bars if console.is_terminal else _lines)(_until_asked(events, requests), console)


def _until_asked(events: Generator[Event, None, None], requests: StopRequests) -> Iterator[Event]:
    """The events of a campaign; left, so that it saves, after the step in which a request comes."""
    with closing(events):
        for event in events:
            yield event
            if requests.signal is not None:
                requests.heard()
                return


def _bars(events: Iterator[Event], console: Console) -> str | None:
    columns = (
        TextColumn("round {task.fields[round]}"),
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[tuple[int, str], TaskID] = {}
        for event in events:
            if isinstance(event, Ended):
                return event.reason
            if isinstance(event, Progress):
                key = (event.round_number, event.stage)
                if key not in tasks:
                    tasks[key] = bars.add_task(
                        event.stage, total=event.total, round=event.round_number, detail=""
                    )
                bars.update(tasks[key], completed=event.done, detail=escape(event.detail))
            else:
                bars.console.print(_sentence(event), soft_wrap=True)
    return None


def _lines(events: Iterator[Event], console: Console) -> str | None:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    shown = (-1, "", -1.0)
    for event in events:
        if isinstance(event, Ended):
            return event.reason
        if isinstance(event, Progress):
            fraction = event.done / max(event.total, 1)
            place = (event.round_number, event.stage, fraction // LOG_EVERY)
            if place != shown:
                shown = place
                count = f"{event.done}/{event.total}"
                log.info("round %d %s %s %s", event.round_number, event.stage, count, event.detail)
        else:
            log.info("%s", _sentence(event))
    return None


def _sentence(report: RoundReport) -> str:
    text = f"round {report.round_number}: {report.picks} picks, {report.failed} failed, "
    text += f"{report.n_labels} labels in all, {report.n_train} training structures"
    if report.stopped:
        text += f"; walkers were stopped ({'; '.join(report.stopped)})"
    if report.extreme:
        text += f"; {len(report.extreme)} labels with extreme forces"
    for told in (*report.suspects, *report.warnings):
        text += f"; {told}"
    if report.energy_rmse is not None:
        text += f"; test energy RMSE {milli(report.energy_rmse)} meV/atom"
    if report.forces_rmse is not None:
        text += f", force RMSE {milli(report.forces_rmse)} meV/A"
    return text
