"""A refit as a task on other resources, with its progress in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from concurrent.futures import wait
from pathlib import Path

from ...errors import RefitError, TerminatedError, WorkerError
from ...io.atomic import write_atomically
from ...resources import Resource, TaskExecutor, open_executor
from ...resources.base import MAX_DEATHS
from ...surrogate.steps import Steps
from .base import RefitProgress, RefitTask, Refitter, refit_alone

PROGRESS = "progress.json"
POLL_S = 1.0
"""Seconds between two looks at the progress, and between two reports of it at least."""


def refit_elsewhere(
    resource: Resource, refitter: Refitter, task: RefitTask
) -> Generator[RefitProgress, None, Path | None]:
    """`Refitter.refit` as one task of a resource that sees the task's directory.

    If its worker is lost, or the training is terminated, the refit runs again, and goes on from
    what it finds in its directory.

    Raises
    ------
    RefitError
        As `Refitter.refit`, and if no worker can be had or several are lost over it.
    TerminatedError
        If it is terminated again and again.
    """
    ended = 0
    with open_executor(resource) as executor:
        while True:
            try:
                return (yield from _followed(executor, refitter, task))
            except TerminatedError:
                ended += 1
                if ended == MAX_DEATHS:
                    raise
            except WorkerError as error:
                raise RefitError(
                    f"refit failed: {error}. The last good model is {task.model}"
                ) from error


def _followed(
    executor: TaskExecutor, refitter: Refitter, task: RefitTask
) -> Generator[RefitProgress, None, Path | None]:
    """One attempt."""
    progress = task.directory / PROGRESS
    progress.unlink(missing_ok=True)
    last: RefitProgress | None = None
    future = executor.submit(run_refit, refitter, task)
    while not future.done():
        wait([future], POLL_S)
        if progress.exists():
            step = RefitProgress(*json.loads(progress.read_text()))
            if step != last:
                yield step
            last = step
    return future.result()


def run_refit(refitter: Refitter, task: RefitTask) -> Path | None:
    """The task: refit, and tell of the progress now and then."""
    steps, told = Steps(refit_alone(refitter, task)), float("-inf")
    for step in steps:
        if time.monotonic() > told + POLL_S:
            write_atomically(task.directory / PROGRESS, json.dumps(step).encode())
            told = time.monotonic()
    return steps.value
