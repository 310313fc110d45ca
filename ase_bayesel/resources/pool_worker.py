"""A worker of the process pool: runs tasks from a pipe, and dies with whoever holds the other end.

It leads a process group, which dies with it. Nothing but the standard library is imported.

Run as a script, ``python -P pool_worker.py FD``, with one end of a `multiprocessing.Pipe`. It
receives the module path, then pickled (function, arguments) pairs, and answers each with
(done, value or exception).
"""

import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection


def main(descriptor: int) -> None:
    """Serve until the pipe closes."""
    signal.signal(signal.SIGINT, lambda *_: None)  # what ends a worker is the end of the pipe
    connection = Connection(descriptor)
    sys.path[:] = connection.recv()
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive, args=[connection, tasks], daemon=True).start()
    while True:
        connection.send_bytes(answer(tasks.get()))


def receive(connection: Connection, tasks: "queue.SimpleQueue[bytes]") -> None:
    """Put what comes into the queue; the end of the pipe ends the group."""
    while True:
        try:
            tasks.put(connection.recv_bytes())
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)


def answer(task: bytes) -> bytes:
    """The pickled outcome of a pickled task."""
    try:
        function, args = pickle.loads(task)
        return pickle.dumps((True, function(*args)))
    except BaseException as error:  # a SystemExit ends a task, and not the worker
        error.add_note("".join(traceback.format_exception(error)))
        return pickled_error(error)


def pickled_error(error: BaseException) -> bytes:
    """An exception, or what it says where it cannot travel."""
    try:
        sent = pickle.dumps((False, error))
        pickle.loads(sent)
        if not isinstance(error, Exception):
            raise TypeError("whoever waits for the task would end of it")
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return sent


if __name__ == "__main__":
    main(int(sys.argv[1]))
