"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..io.words import duration

log = logging.getLogger("bayesel")
EVERY_S = 5.0
"""A plain log gets a line after so much time, and none of what takes less."""
OnStage = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, how much in all; 0 where nobody knows)."""


def plain_log() -> None:
    """Let `log` tell of progress, each line with its time."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)


class Stages(AbstractContextManager["Stages"]):
    """Progress of a command that goes from stage to stage; leaves nothing on a terminal.

    Parameters
    ----------
    console
        Where the command writes.
    """

    def __init__(self, console: Console) -> None:
        self.moved = False
        self._stage = ""
        self._first, self._began = 0, 0.0
        self._last = time.monotonic()
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        if console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[n]}")
            detail = TextColumn("{task.fields[detail]}")
            self._bars = Progress(
                *columns, TimeRemainingColumn(), detail, console=console, transient=True
            )
        else:
            plain_log()

    def __exit__(self, *raised: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def move(self, stage: str, done: int, total: int = 0, detail: str = "") -> None:
        """Show how far a stage is.

        Parameters
        ----------
        stage
            What is done.
        done, total
            How much of it, and how much in all; 0 where nobody knows.
        detail
            More words.
        """
        now, self.moved = time.monotonic(), True
        if stage != self._stage:
            self._stage, self._first, self._began = stage, done, now
        count = f"{done}/{total}" if total else str(done)
        if self._bars is not None:
            self._draw(self._bars, count, done, total, detail)
        elif now - self._last >= EVERY_S:
            self._last = now
            told = f"{stage} {count}"
            if self._first < done < total:
                ahead = (now - self._began) * (total - done) / (done - self._first)
                told += f", {duration(ahead)} left"
            log.info("%s", f"{told}, {detail}" if detail else told)

    def _draw(self, bars: Progress, count: str, done: int, total: int, detail: str) -> None:
        bars.start()
        if self._task is None or bars.tasks[-1].description != self._stage:
            if self._task is not None:
                bars.remove_task(self._task)
            self._task = bars.add_task(self._stage, total=None, n="", detail="")
        whole, words = total or None, escape(detail)
        bars.update(self._task, completed=done, total=whole, n=count, detail=words)
