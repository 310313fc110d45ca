"""A refit as a task on other resources, with its progress in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from concurrent.futures import wait
from pathlib import Path

from ..errors import RefitError, WorkerError
from ..files import write_atomically
from ..resources import Resource, open_executor
from .base import RefitProgress, RefitTask, Refitter

PROGRESS = "progress.json"
POLL_S = 1.0
"""Seconds between two looks at the progress, and between two reports of it at least."""


def refit_elsewhere(
    resource: Resource, refitter: Refitter, task: RefitTask
) -> Generator[RefitProgress, None, Path]:
    """`Refitter.refit` as one task of a resource that sees the task's directory.

    If its worker is lost the refit runs again, and goes on from what it finds in its directory.

    Raises
    ------
    RefitError
        As `Refitter.refit`, and if no worker can be had or several are lost over it.
    """
    progress = task.directory / PROGRESS
    progress.unlink(missing_ok=True)
    last: RefitProgress | None = None
    with open_executor(resource) as executor:
        future = executor.submit(run_refit, refitter, task)
        while not future.done():
            wait([future], POLL_S)
            if progress.exists():
                step = RefitProgress(*json.loads(progress.read_text()))
                if step != last:
                    yield step
                last = step
        try:
            return future.result()
        except WorkerError as error:
            raise RefitError(
                f"refit failed: {error}. The last good model is {task.model}"
            ) from error


def run_refit(refitter: Refitter, task: RefitTask) -> Path:
    """The task: refit, and tell of the progress now and then."""
    steps, told = refitter.refit(task), float("-inf")
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if time.monotonic() > told + POLL_S:
            write_atomically(task.directory / PROGRESS, json.dumps(step).encode())
            told = time.monotonic()
