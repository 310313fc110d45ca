"""Dask clients of resources, and an executor on a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..errors import LostTaskError, WorkerError
from .base import BatchJobs, LocalCluster, RunningCluster
from .dask_settings import NO_WARNING, PAGES, SCHEDULER_SETTINGS
from .threads import usable_processes

try:
    import dask
    import distributed
    from distributed import Client, KilledWorker
except ModuleNotFoundError as error:
    raise WorkerError(
        "workers in other processes need Dask: pip install 'ase_bayesel[distributed]'"
    ) from error


class ClientExecutor:
    """Runs tasks on the workers of a Dask client; see `TaskExecutor`.

    ``waiting`` are the futures that are not done.
    """

    def __init__(self, client: Client, waiting: set[Future[Any]]) -> None:
        self._client, self._waiting = client, waiting

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """See `TaskExecutor.submit`."""
        if self._client.status == "closed":
            raise WorkerError("the connection to the Dask scheduler was lost, or closed")
        with dask.config.set(NO_WARNING):
            task = self._client.submit(function, *args, pure=False)
        future: Future[Any] = Future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        future.add_done_callback(partial(_cancel, task))
        task.add_done_callback(partial(_settle, future))
        return future


@contextmanager
def client_executor(
    resource: LocalCluster | RunningCluster | BatchJobs,
) -> Iterator[ClientExecutor]:
    """See `open_executor`."""
    waiting: set[Future[Any]] = set()
    with client_of(resource, lambda: len(waiting)) as client:
        try:
            yield ClientExecutor(client, waiting)
        finally:
            for future in list(waiting):
                future.cancel()


@contextmanager
def client_of(
    resource: LocalCluster | RunningCluster | BatchJobs,
    n_tasks: Callable[[], int] | None = None,
) -> Iterator[Client]:
    """See `open_client`. With ``n_tasks`` no more jobs are asked for than it says."""
    if isinstance(resource, BatchJobs):
        from .jobs import job_client

        opened = job_client(resource, n_tasks)
    elif isinstance(resource, RunningCluster):
        opened = _running(resource.scheduler)
    else:
        opened = _local(resource.n_workers or usable_processes(1))
    with opened as client:
        yield client


def worker_error(error: Exception) -> Exception:
    """What an exception of a Dask task says in this package's terms, or itself."""
    if isinstance(error, KilledWorker):
        return LostTaskError(f"several workers were lost over one task ({error})")
    if isinstance(error, CancelledError):
        told = getattr(error, "msg", None) or "the connection to the Dask scheduler was lost"
        return WorkerError(told)
    return error


def _cancel(task: distributed.Future, future: Future[Any]) -> None:
    if future.cancelled():
        task.cancel()


def _settle(future: Future[Any], task: distributed.Future) -> None:
    """Hand on the outcome of a Dask task, which is then forgotten.

    A result that somebody still wants is computed again when its worker goes.
    """
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(task.result())
    except Exception as error:
        future.set_exception(worker_error(error))
    finally:
        task.release()


@contextmanager
def _local(n_workers: int) -> Iterator[Client]:
    """Processes of this machine, one thread each, that end with this block or this process."""
    with dask.config.set(SCHEDULER_SETTINGS):
        cluster = distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            scheduler_kwargs=PAGES,
            silence_logs=logging.ERROR,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _running(address: str) -> Iterator[Client]:
    """The workers behind a scheduler's address."""
    keys = distributed.Security().get_connection_args("client")
    if address.startswith("tls:") and keys["ssl_context"] is None:
        raise WorkerError(
            f"{address}: no key for its encryption; set distributed.comm.tls.ca-file, client.key "
            "and client.cert in Dask's configuration"
        )
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"{address}: no Dask scheduler answers ({error})") from error
    with client:
        yield client
