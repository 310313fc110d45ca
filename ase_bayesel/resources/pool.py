"""A pool of processes in which a lost worker costs its own task one attempt, and nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any

from ..errors import LostTaskError, WorkerError
from . import pool_worker
from .base import MAX_DEATHS
from .commands import SUPERVISOR, end_supervised, release

SCRIPT = (sys.executable, "-P", str(pool_worker.__file__))
CLOSED = "the executor was closed before the task was done"


class PoolExecutor:
    """Runs tasks in ``n_workers`` processes; see `TaskExecutor`.

    Each process has a thread here that hands it one task after the other. Nothing of the
    ``__main__`` module is imported in the processes. Each runs under a supervisor (`supervise`),
    so that all that its tasks have started ends with it, also what has left its process group.
    """

    def __init__(self, n_workers: int, threads: int = 1) -> None:
        self._environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self._tasks: SimpleQueue[tuple[Future[Any], bytes] | None] = SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._threads = [
            threading.Thread(target=self._serve, daemon=True) for _ in range(n_workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """See `TaskExecutor.submit`."""
        if self._closed:
            raise WorkerError("the executor is closed")
        future: Future[Any] = Future()
        self._tasks.put((future, pickle.dumps((function, args))))
        return future

    def close(self) -> None:
        """Cancel what waits and kill what runs."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                release(process)
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if task is not None:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Hand tasks to a process of this thread's own; started anew where it was lost."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, content = task
            if not future.set_running_or_notify_cancel():
                continue
            for _ in range(MAX_DEATHS):
                try:
                    worker = worker or self._start()
                    done, value = worker.ask(content)
                except _LostError:
                    if worker is not None:
                        self._end(worker)
                    worker = None
                    continue
                except Exception as error:  # an answer that cannot be unpickled here
                    done, value = False, error
                if done:
                    future.set_result(value)
                else:
                    future.set_exception(value)
                break
            else:
                lost = f"{MAX_DEATHS} workers were lost over this task"
                failure = WorkerError(CLOSED) if self._closed else LostTaskError(lost)
                future.set_exception(failure)
        if worker is not None:
            self._end(worker)

    def _start(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise _LostError
            worker = _Worker(self._environment)
            self._processes.add(worker.process)
        return worker

    def _end(self, worker: _Worker) -> None:
        worker.end()
        with self._lock:
            self._processes.discard(worker.process)


class _LostError(Exception):
    """A worker died before it answered."""


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self.process = _started(theirs, environment)
        self._path: list[str] | None = sys.path

    def ask(self, content: bytes) -> tuple[bool, Any]:
        """What became of a task."""
        try:
            if self._path is not None:
                self._connection.send(self._path)
                self._path = None
            self._connection.send_bytes(content)
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _LostError from error
        return pickle.loads(answer)

    def end(self) -> None:
        end_supervised(self.process)
        self._connection.close()


def _started(pipe: Connection, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    descriptor = pipe.fileno()
    return subprocess.Popen(
        [*SUPERVISOR, "--pass", str(descriptor), *SCRIPT, str(descriptor)],
        stdin=subprocess.PIPE,
        env=environment,
        pass_fds=[descriptor],
        start_new_session=True,
    )
