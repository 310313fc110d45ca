"""Resources as values, and what an executor promises."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, TypeVar

from pydantic import Field

from ..io.fields import HIDDEN, InputPath
from ..io.magnitudes import Gigabytes, Hours, Workers

T = TypeVar("T")
MAX_DEATHS = 3
"""A task over which so many workers were lost is given up."""


class TaskExecutor(Protocol):
    """Runs tasks, somewhere; made by `open_executor`."""

    def submit(self, function: Callable[..., T], /, *args: object) -> Future[T]:
        """Run ``function(*args)``; `concurrent.futures.wait` and `as_completed` take the result.

        Parameters
        ----------
        function
            Of a module that the workers can import.
        args
            Picklable.

        A task whose worker is lost runs again on another. The future holds what the function
        raised, a `LostTaskError` if `MAX_DEATHS` workers were lost over it, or a `WorkerError` if
        no worker can be had.

        Raises
        ------
        WorkerError
            If the executor has ended.
        """
        ...


@dataclass(frozen=True)
class Here:
    """This process: a task is done when `TaskExecutor.submit` returns."""

    kind: ClassVar[str] = "here"


@dataclass(frozen=True)
class ProcessPool:
    """Processes of this machine, one task each at a time; started when first needed.

    Attributes
    ----------
    n_workers
        How many; None for as many as the usable cores take with these threads.
    threads
        Value of ``OMP_NUM_THREADS`` in them, unless it is set already.
    """

    kind: ClassVar[str] = "processes"

    n_workers: Workers | None = None
    threads: Annotated[int, HIDDEN] = 1


@dataclass(frozen=True)
class LocalCluster:
    """A Dask cluster of ``n_workers`` processes of this machine, one task each at a time.

    None takes one for each usable core.
    """

    kind: ClassVar[str] = "local"

    n_workers: Workers | None = None


@dataclass(frozen=True)
class RunningCluster:
    """The workers behind a Dask scheduler's address, as ``tcp://host:8786``.

    How many workers a task may cost is set by its ``distributed.scheduler.allowed-failures``.
    """

    kind: ClassVar[str] = "dask"

    scheduler: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class BatchJobs:
    """Jobs of a batch system, each with worker processes, by dask-jobqueue.

    A job that is lost is replaced. Jobs end with the executor, soon after the death of this
    process, and shortly before their walltime, when what they run moves on.

    Attributes
    ----------
    kind
        ``"slurm"``, ``"pbs"``, ``"lsf"``, ``"sge"``, ``"oar"``, ``"htcondor"`` or ``"moab"``.
    jobs
        At most so many at a time.
    cores, memory_GB
        Of each job.
    processes
        Of each job; each runs one task at a time.
    walltime_h
        Hours; not for HTCondor.
    queue, account
        Where to submit (HTCondor has no queue), and on whose account.
    directives
        Further lines for the batch system, without its prefix: ``"--gres=gpu:1"``. One that
        comes twice overrides the first.
    directives_skip
        Lines that contain one of these are left out.
    prologue
        Lines of the job's script before the workers start: ``"module load qe"``.
    interface
        Network interface, such as ``"ib0"``, of scheduler and workers.
    python
        The interpreter in the jobs; None for that of this process.
    local_directory
        For the workers' scratch files.
    log_directory
        For the jobs' output, None for where the batch system puts it. The key of the encryption
        lies there too (or in the working directory), so the nodes have to see it.
    """

    kind: Literal["slurm", "pbs", "lsf", "sge", "oar", "htcondor", "moab"] = "slurm"
    jobs: Workers = 1
    cores: Workers = 1
    memory_GB: Gigabytes = 4.0
    processes: Workers = 1
    walltime_h: Hours = 1.0
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    directives_skip: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    python: str | None = None
    local_directory: InputPath | None = None
    log_directory: InputPath | None = None


Resource = Here | ProcessPool | LocalCluster | RunningCluster | BatchJobs
RESOURCES = (Here, ProcessPool, LocalCluster, RunningCluster, BatchJobs)
"""What a config can name by its kind."""
