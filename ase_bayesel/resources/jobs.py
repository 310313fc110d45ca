"""A Dask scheduler in this process whose workers are in batch jobs, replaced where they are lost.

dask-jobqueue's own cluster keeps a job on its list that is not in the queue any more. Which
jobs there are to be is therefore decided here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, Scheduler, SchedulerPlugin, SpecCluster

from ..errors import MissingProgramError, WorkerError
from .base import MAX_DEATHS, BatchJobs
from .batch import Job, new_job, submit_program
from .dask_settings import PAGES, SCHEDULER_SETTINGS
from .encryption import key_in_files

LOOK_S, QUEUE_S = 1.0, 15.0
"""Seconds between two looks at the workers, and between two questions to the batch system."""
LOST_S = 60.0
"""A job whose workers have been gone for so long is replaced."""
IDLE_S = 300.0
"""A job that has had nothing to do for so long ends, if fewer are needed."""
FRUITLESS = 3
"""After so many tries in a row that gave no worker there are no more."""


@contextmanager
def job_client(resource: BatchJobs, n_tasks: Callable[[], int] | None) -> Iterator[Client]:
    """A client of the scheduler; see `open_client`.

    ``n_tasks`` says how many tasks there are, and no more jobs are asked for than they need;
    None asks for all at once.
    """
    program = submit_program(resource)
    if shutil.which(program) is None:
        raise MissingProgramError(f"{program}: no such program (kind: {resource.kind})")
    with key_in_files(resource.log_directory or Path()) as key:
        options = {"interface": resource.interface, "protocol": "tls://", "security": key}
        with dask.config.set(SCHEDULER_SETTINGS):
            cluster = SpecCluster(
                scheduler={"cls": Scheduler, "options": options | PAGES},
                security=key,
                silence_logs=logging.ERROR,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            keeper = JobKeeper(resource, cluster, client, n_tasks)
            try:
                yield client
            finally:
                keeper.close()


@dataclass
class _JobRecord:
    """A submitted job, and when it was last seen with workers and with something to do.

    ``tasks`` are the keys of what it did when it was last seen.
    """

    worker: str
    job: Job
    last_seen: float
    busy: float
    started: bool = False
    tasks: frozenset[Any] = frozenset()


class _Arrivals(SchedulerPlugin):
    """Jobs from which a worker has come, be it for a moment."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self.jobs.add(_job_of(scheduler.workers[worker]))


def _job_of(worker: Any) -> str:
    """What a worker's name begins with; several of one job are numbered."""
    return "-".join(str(worker.name).split("-")[:3])


class JobKeeper:
    """Sees to it, in a thread of its own, that there are as many jobs as are needed.

    Parameters
    ----------
    resource
        What a job is, and how many there may be.
    cluster
        Submits and cancels them.
    client
        Knows which of their workers have arrived.
    n_tasks
        Says how many tasks there are, so that no more jobs run than those need; None for all.
    """

    def __init__(
        self,
        resource: BatchJobs,
        cluster: SpecCluster,
        client: Client,
        n_tasks: Callable[[], int] | None,
    ) -> None:
        self._resource, self._cluster, self._client = resource, cluster, client
        self._n_tasks = n_tasks
        self._name = f"bayesel-{secrets.token_hex(3)}"
        self._workers = (f"{self._name}-{k}" for k in count())
        self._records: list[_JobRecord] = []
        self._fruitless, self._next_question, self._next_try = 0, 0.0, 0.0
        self._outlived: Counter[Any] = Counter()
        self._arrivals = _Arrivals()
        cluster.scheduler.add_plugin(self._arrivals, name=self._name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cancel all jobs."""
        self._stop.set()
        self._thread.join()

    def _keep(self) -> None:
        try:
            self._watch()
        finally:
            self._cancel(self._records)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self._look(time.monotonic())
            except Exception as error:  # whoever waits for a task must hear of it
                return self._give_up(str(error))
            self._stop.wait(LOOK_S)

    def _look(self, now: float) -> None:
        """Cancel what is lost or not needed, and submit what is missing."""
        workers = self._present()
        for record in self._records:
            here = workers.get(record.worker, [])
            if record.worker in self._arrivals.jobs and not record.started:
                record.started, self._fruitless = True, 0
            if here:
                record.last_seen = now
                record.tasks = frozenset(task.key for w in here for task in list(w.processing))
            if record.tasks:
                record.busy = now
        ended = self._ended(now)
        self._cancel(ended)
        self._give_up_tasks(ended)
        if any(not record.started for record in ended):
            self._count_failure(now, "jobs end before a worker starts")
        needed = self._needed()
        idle = [record for record in self._records if now - record.busy > IDLE_S]
        self._dismiss(idle[: max(0, len(self._records) - needed)], workers)
        while len(self._records) < needed and now >= self._next_try and not self._stop.is_set():
            self._submit(now)

    def _present(self) -> dict[str, list[Any]]:
        """The scheduler's view of the workers of each job."""
        by_job: dict[str, list[Any]] = {}
        for worker in list(self._cluster.scheduler.workers.values()):
            by_job.setdefault(_job_of(worker), []).append(worker)
        return by_job

    def _give_up_tasks(self, ended: Collection[_JobRecord]) -> None:
        """Let those fail that have outlived several jobs: they may never fit into one.

        The scheduler does not count a worker that leaves before the walltime.
        """
        unfinished = set(self._client.futures)
        for key in (key for record in ended for key in record.tasks if key in unfinished):
            self._outlived[key] += 1
            if self._outlived[key] == MAX_DEATHS:
                told = f"{MAX_DEATHS} jobs have ended during this task"
                self._client.cancel([Future(key, self._client)], reason="jobs", msg=told)

    def _needed(self) -> int:
        if self._n_tasks is None:
            return self._resource.jobs
        return min(self._resource.jobs, math.ceil(self._n_tasks() / self._resource.processes))

    def _ended(self, now: float) -> list[_JobRecord]:
        """Jobs that are not in the queue any more, or whose workers have long been gone."""
        absent = [record for record in self._records if record.last_seen < now]
        queued = None
        if absent and now >= self._next_question:
            queued, self._next_question = self._queued(), now + QUEUE_S
        return [
            record
            for record in absent
            if (queued is not None and record.job.job_id not in queued)
            or (record.started and now - record.last_seen > LOST_S)
        ]

    def _queued(self) -> set[str] | None:
        """Numbers of our jobs that wait or run; None where the batch system cannot be asked."""
        if self._resource.kind != "slurm":
            return None
        command = ["squeue", "--noheader", "--format=%i %t", f"--name={self._name}"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        pairs = (line.split() for line in answer.stdout.splitlines() if line.strip())
        return {number for number, state in pairs if state != "CG"}

    def _submit(self, now: float) -> None:
        worker = next(self._workers)
        address, key = self._cluster.scheduler_address, self._cluster.security
        job = new_job(self._resource, address, key, self._name, worker)
        try:
            asyncio.run(job.start())
        except (OSError, RuntimeError, ValueError) as error:
            self._count_failure(now, f"no job can be submitted: {error}")
        else:
            self._records.append(_JobRecord(worker, job, now, now))

    def _dismiss(self, records: Collection[_JobRecord], workers: dict[str, list[Any]]) -> None:
        """End jobs whose workers are at rest."""
        addresses = [w.address for record in records for w in workers.get(record.worker, [])]
        if addresses:
            self._client.retire_workers(addresses)
        self._cancel(records)

    def _cancel(self, records: Collection[_JobRecord]) -> None:
        async def close() -> None:
            await asyncio.gather(*(record.job.close() for record in records))

        if records:
            asyncio.run(close())
            self._records = [record for record in self._records if record not in records]

    def _count_failure(self, now: float, reason: str) -> None:
        self._fruitless, self._next_try = self._fruitless + 1, now + QUEUE_S
        if self._fruitless >= FRUITLESS:
            logs = self._resource.log_directory or "the folder of this process"
            raise WorkerError(f"{self._resource.kind}: {reason} (jobs' output: {logs})")

    def _give_up(self, reason: str) -> None:
        """Let every task fail."""
        tasks: list[Any] = [Future(key, self._client) for key in list(self._client.futures)]
        self._client.cancel(tasks, reason="no workers", msg=reason)
        self._client.close()
