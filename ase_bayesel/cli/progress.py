"""A campaign's run as it is shown: a line a round; bars on a terminal, log lines elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from ..campaign.events import Ended, Event, Progress, RoundReport, WalkerNow
from ..io.words import counted, rounded
from ..labelling.labeller import LabelTally
from .plain_warnings import without_thermostats
from .stages import log, plain_log
from .stopping import StopRequests

LOG_EVERY = 0.1
"""Fraction of a stage after which a plain log gets its next line."""
BAR_WIDTH = 12
"""With which all columns but the last fit on a terminal of 80, and leave some 30 to that."""
MOST_WALKERS = 16
"""So many walkers have a line on a terminal."""


def show(
    events: Generator[Event, None, None], requests: StopRequests, console: Console
) -> str | None:
    """Run a campaign and show how it goes; returns why it ended, None if it was asked to stop.

    Parameters
    ----------
    events
        `Campaign.run`.
    """
    shown = _Bars(console, requests) if console.is_terminal else _Lines(console)
    with without_thermostats(lambda: shown.stage == "explore"), shown:
        for event in _until_asked(events, requests):
            if isinstance(event, Ended):
                return event.reason
            shown.take(event)
    return None


def _until_asked(events: Generator[Event, None, None], requests: StopRequests) -> Iterator[Event]:
    """The events of a campaign; left, so that it saves, after the step in which a request comes."""
    with closing(events):
        for event in events:
            yield event
            if requests.signal is not None:
                requests.heard()
                return


class _Shown(AbstractContextManager["_Shown"]):
    """What both ways share: lines of rounds, and each warning once on a line of its own."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage = ""
        self._told: set[str] = set()

    def take(self, event: Progress | RoundReport) -> None:
        """Show an event."""
        if isinstance(event, RoundReport):
            self.stage = ""
            self.end_round()
            self._say(round_line(event))
            self._warn(event.round_number, round_warnings(event))
            if event.energy_shift is not None:
                self._say(f"note: round {event.round_number}: {event.energy_shift}")
            return
        self.stage = event.stage
        self._warn(event.round_number, event.warnings)
        self.move(event)

    @abstractmethod
    def end_round(self) -> None:
        """A round is done."""

    @abstractmethod
    def move(self, progress: Progress) -> None:
        """Something has moved."""

    def _warn(self, number: int, warnings: Iterable[str]) -> None:
        for text in warnings:
            line = f"warning: round {number}: {text}"
            if line not in self._told:
                self._told.add(line)
                self._say(line)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


class _Lines(_Shown):
    """Progress in a plain log."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        plain_log()
        self._last = (-1, "", -1.0)

    def __exit__(self, *raised: object) -> None:
        """There is nothing to clear."""

    def end_round(self) -> None:
        """Nor here."""

    def move(self, progress: Progress) -> None:
        fraction = progress.done / max(progress.total, 1)
        place = (progress.round_number, progress.stage, fraction // LOG_EVERY)
        if place != self._last:
            self._last = place
            count = f"{progress.done}/{progress.total}"
            words = (progress.round_number, progress.stage, count, progress.detail)
            log.info("round %d %s %s %s", *words)


class _Bars(_Shown):
    """Bars of the round under way, its walkers and its labels; and that it is asked to stop."""

    def __init__(self, console: Console, requests: StopRequests) -> None:
        super().__init__(console)
        self._bars = _RoundBars(console)
        self._tasks: dict[str, TaskID] = {}
        self._requests, self._tell = requests, requests.tell

    def __enter__(self) -> Self:
        self._bars.start()
        self._requests.tell = self._bars.tell_last
        return self

    def __exit__(self, *raised: object) -> None:
        self._requests.tell = self._tell
        self._bars.stop()

    def end_round(self) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks, self._bars.below, self._bars.labels = {}, [], ""

    def move(self, progress: Progress) -> None:
        stage, bars = progress.stage, self._bars
        if progress.walkers:
            bars.below = list(walker_lines(progress.walkers))
        if progress.labels is not None:
            bars.labels = label_line(progress.labels)
        if stage not in self._tasks:
            number, total = progress.round_number, progress.total
            self._tasks[stage] = bars.add_task(stage, total=total, round=number, detail="")
        bars.update(
            self._tasks[stage],
            completed=progress.done,
            total=progress.total,
            detail=escape(progress.detail),
        )


class _RoundBars(Bars):
    """Bars with lines of text below."""

    def __init__(self, console: Console) -> None:
        self.below: list[str] = []
        self.labels = self.last = ""
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what the others leave
        columns = (
            TextColumn("round {task.fields[round]}"),
            TextColumn("{task.description:<9}"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", table_column=rest),
        )
        super().__init__(*columns, console=console, transient=True, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, then a line for each walker, the labels, and a last line that may be long."""
        yield self.make_tasks_table(self.tasks)
        for line in (*self.below, self.labels):
            if line:
                yield Text(line, no_wrap=True, overflow="ellipsis")
        if self.last:
            yield Text(self.last)

    def tell_last(self, line: str) -> None:
        """Show a line below all others, from the next drawing on."""
        self.last = line


def round_line(report: RoundReport) -> str:
    """A finished round in at most 100 columns; round 0 has labels for the test, not picks."""
    number, n_test = report.round_number, report.n_test
    picks = f"{counted(report.picks, 'pick')}, " if number else ""
    test = f" ({n_test} for the test)" if n_test and not number else ""
    text = f"round {number}: {picks}{report.failed} failed; "
    text += f"{counted(report.n_labels, 'label')}{test}, {report.n_train} fitted"
    errors = ((report.energy_rmse, "meV/atom"), (report.forces_rmse, "meV/A"))
    told = [f"{_milli(error)} {unit}" for error, unit in errors if error is not None]
    return f"{text}; test RMSE {', '.join(told)}" if told else text


def _milli(error: float) -> str:
    """In meV or meV/A, with four digits."""
    value = 1e3 * error
    return f"{value:#.4g}".rstrip(".") if value < 9999 else rounded(value, 4)


def round_warnings(report: RoundReport) -> list[str]:
    """What does not look right of a round, a line each."""
    return [*report.stopped, *report.warned()]


def walker_lines(walkers: tuple[WalkerNow, ...]) -> Iterator[str]:
    """Where walkers are, each with its criterion beside threshold and bound of trust."""
    for k, walker in enumerate(walkers[:MOST_WALKERS]):
        text = f"walker {k}: step {walker.step}/{walker.n_steps}"
        if walker.temperature_K is not None:
            text += f", {walker.temperature_K:.0f} K"
        value = "-" if walker.value is None else rounded(walker.value, 3)
        text += f", criterion {value} of {rounded(walker.threshold, 3)}"
        if walker.bound is not None:
            text += f" (bound {rounded(walker.bound, 3)}, met {counted(walker.returns, 'time')})"
        yield text if walker.status == "running" else f"{text}, {walker.status}"
    if len(walkers) > MOST_WALKERS:
        yield f"and {counted(len(walkers) - MOST_WALKERS, 'more walker')}"


def label_line(labels: LabelTally) -> str:
    """Where labels are."""
    return (
        f"labels: {labels.queued} queued, {labels.running} running, {labels.done} done, "
        f"{labels.failed} failed"
    )
