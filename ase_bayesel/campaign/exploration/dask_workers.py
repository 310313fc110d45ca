"""Walkers advanced by Dask workers, wherever those run (see `resources.open_client`).

Every task is a function of values: the walker's state, the barrier and the posterior. A
worker loads the round's model once and keeps it; a posterior travels to it once per pick.
What a worker was doing when it was lost is done again by another, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dask
import numpy as np
from distributed import Client, Future, Worker, WorkerPlugin, get_worker

from ...bias.batching import CallResult
from ...resources.dask_clients import worker_error
from ...resources.dask_settings import NO_WARNING
from ...surrogate.posterior import Posterior
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult
from .kept_round import KeptRound, OpenSetup
from .local import result_of
from .state import WalkerState


@contextmanager
def dask_executor(client: Client, open_setup: OpenSetup, token: str) -> Iterator[DaskExecutor]:
    """An executor on the workers of a client, which forget the round at the end.

    Parameters
    ----------
    client
        Left open.
    open_setup
        What each worker calls once, when it gets its first task.
    token
        Names what ``open_setup`` loads; another content needs another token.
    """
    client.register_plugin(_Round(open_setup), name=token)
    executor = DaskExecutor(client, token)
    try:
        yield executor
    finally:
        executor.forget()
        with suppress(OSError):  # of a worker that was lost just now
            client.unregister_worker_plugin(token)


class DaskExecutor:
    """Advances walkers on Dask workers, one task each; made by `dask_executor`."""

    def __init__(self, client: Client, token: str) -> None:
        self._client, self._token = client, token
        self._published: tuple[Surrogate, Future] | None = None

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, BlockResult]:
        """All walkers at the barrier; see `barriers.Executor`.

        Raises
        ------
        WorkerError
            If a walker's block has cost several workers their lives, or none can be had.
        """
        posterior = self._publish(surrogate)
        futures = {
            k: self._client.submit(
                _advance, self._token, posterior.key, posterior, k, walker, barrier, pure=False
            )
            for k, walker in walkers.items()
        }
        return {k: result_of(k, _result(future)) for k, future in futures.items()}

    def forget(self) -> None:
        """Let go of the posterior on the cluster; the next call of `advance` sends it anew."""
        self._published = None

    def _publish(self, surrogate: Surrogate) -> Future:
        """The posterior on the cluster; the scheduler can make it again if its workers are lost."""
        if self._published is None or self._published[0] is not surrogate:
            held = surrogate.posterior
            with dask.config.set(NO_WARNING):
                future = self._client.submit(_arrays, held.precision_factor, held.mean, pure=False)
            self._published = surrogate, future
        return self._published[1]


def _result(future: Future) -> CallResult:
    try:
        return CallResult(future.result())
    except Exception as error:
        return CallResult(error=worker_error(error))


def _arrays(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return arrays


def _advance(
    token: str, version: str, posterior: tuple[np.ndarray, ...], *block: Any
) -> BlockResult:
    """The task: `advance_walker` with the round that the worker keeps."""
    plugin = get_worker().plugins[token]
    assert isinstance(plugin, _Round)
    return plugin.kept.advance(version, lambda: Posterior(*posterior), *block)


class _Round(WorkerPlugin):
    """A `KeptRound` on a worker."""

    def __init__(self, open_setup: OpenSetup) -> None:
        self._open_setup = open_setup

    def setup(self, worker: Worker) -> None:
        self.kept = KeptRound(self._open_setup)

    def teardown(self, worker: Worker) -> None:
        self.kept.close()
