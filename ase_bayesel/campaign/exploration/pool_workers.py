"""Walkers advanced by processes of this machine.

Every task is a function of values: the walker's state, the barrier and the posterior. A process
loads the round's model once and keeps it; what it is loaded from, and each posterior, lie in files
that a process reads once.
What a process was doing when it was lost is done again by another, with the same result.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...bias.batching import CallResult
from ...resources import ProcessPool, TaskExecutor, open_executor
from ...surrogate.posterior import Posterior
from ...surrogate.surrogate import Surrogate
from .blocks import BlockResult
from .kept_round import KeptRound, OpenSetup
from .local import result_of
from .state import WalkerState

SETUP = "setup.pickle"
_kept: dict[Path, KeptRound] = {}
"""In a process of the pool: its round, by the folder of its setup and the posteriors."""


@contextmanager
def pool_executor(resource: ProcessPool, open_setup: OpenSetup) -> Iterator[PoolWalkers]:
    """An executor in processes of its own, which end with this block.

    Parameters
    ----------
    open_setup
        What each process calls once, when it gets its first task.
    """
    with TemporaryDirectory(prefix="bayesel_") as folder, open_executor(resource) as executor:
        yield PoolWalkers(executor, open_setup, Path(folder))


class PoolWalkers:
    """Advances walkers in a pool of processes, one task each; made by `pool_executor`."""

    def __init__(self, executor: TaskExecutor, open_setup: OpenSetup, folder: Path) -> None:
        self._executor, self._folder = executor, folder
        (folder / SETUP).write_bytes(pickle.dumps(open_setup))
        self._published: Surrogate | None = None
        self._version = 0

    def advance(
        self, walkers: Mapping[int, WalkerState], barrier: int, surrogate: Surrogate
    ) -> dict[int, BlockResult]:
        """All walkers at the barrier; see `barriers.Executor`.

        Raises
        ------
        WorkerError
            If a walker's block has cost several processes their lives.
        """
        path = self._publish(surrogate)
        futures = {
            k: self._executor.submit(_advance, path, k, walker, barrier)
            for k, walker in walkers.items()
        }
        return {k: result_of(k, CallResult.of(future.result)) for k, future in futures.items()}

    def _publish(self, surrogate: Surrogate) -> Path:
        """The file of the posterior; that of the one before is not needed any more."""
        if self._published is not surrogate:
            self._path.unlink(missing_ok=True)
            self._version += 1
            held = surrogate.posterior
            np.savez(self._path, factor=held.precision_factor, mean=held.mean)
            self._published = surrogate
        return self._path

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._version}.npz"


def _advance(posterior: Path, *block: Any) -> BlockResult:
    """The task: `advance_walker` with the round that the process keeps."""
    folder = posterior.parent
    if folder not in _kept:
        _kept[folder] = KeptRound(pickle.loads((folder / SETUP).read_bytes()))

    def read() -> Posterior:
        with np.load(posterior) as arrays:
            return Posterior(arrays["factor"], arrays["mean"])

    return _kept[folder].advance(posterior.name, read, *block)
