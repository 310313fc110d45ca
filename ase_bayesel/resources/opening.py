"""From a resource to what runs tasks on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from .base import BatchJobs, Here, LocalCluster, ProcessPool, Resource, RunningCluster, TaskExecutor
from .threads import usable_processes

if TYPE_CHECKING:
    from distributed import Client


class HereExecutor:
    """Runs each task in this process, before `submit` returns."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """See `TaskExecutor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def open_executor(resource: Resource) -> Iterator[TaskExecutor]:
    """What runs tasks on a resource.

    At the end of the block what waits is cancelled, what runs is stopped with all the programs
    that it has started, and workers and jobs are ended, except those of a `RunningCluster`.

    Raises
    ------
    WorkerError
        If no worker can be had: no scheduler answers, Dask is not installed.
    MissingProgramError
        If the batch system's commands are not there.
    """
    match resource:
        case Here():
            yield HereExecutor()
        case ProcessPool():
            from .pool import PoolExecutor

            pool = PoolExecutor(
                resource.n_workers or usable_processes(resource.threads), resource.threads
            )
            try:
                yield pool
            finally:
                pool.close()
        case _:
            from .dask_clients import client_executor

            with client_executor(resource) as executor:
                yield executor


def open_client(
    resource: LocalCluster | RunningCluster | BatchJobs,
) -> AbstractContextManager[Client]:
    """A Dask client of the resource, for tasks that need more than an executor.

    Batch jobs are all asked for at once.

    Raises
    ------
    WorkerError, MissingProgramError
        As `open_executor`.
    """
    from .dask_clients import client_of

    return client_of(resource)
