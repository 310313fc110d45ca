"""What is started in this process ends with it, however it ends; on Linux.

Commands and the processes of a pool have a supervisor (`supervise`). What a calculator starts in
this process has none: it gets a mark in its environment, and a small process, this script, waits
for the end of the one that set the mark and then kills whatever bears it.

Run as a script, ``python -I -S marks.py MARK PID``, with one end of a pipe as its standard input;
the other end is held by the process PID alone, and by what it has forked.
It imports the standard library only, so that it starts in milliseconds.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

VARIABLE = "ASE_BAYESEL_STARTED_BY"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Marks:
    """The mark of this process, from the first time that it is needed."""

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0
        self._owner, self._mark, self._before = 0, "", os.environ.get(VARIABLE)

    def enter(self) -> None:
        with self._lock:
            if self._owner != os.getpid():  # also in a fork, which has a mark of its own
                mark = os.urandom(12).hex()
                _watch(mark)
                self._owner, self._mark, self._depth = os.getpid(), mark, 0
                self._before = os.environ.get(VARIABLE)
            self._depth += 1
            os.environ[VARIABLE] = self._mark

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            if self._before is None:
                os.environ.pop(VARIABLE, None)
            else:
                os.environ[VARIABLE] = self._before


_MARKS = _Marks()


@contextmanager
def marked() -> Iterator[None]:
    """Let what is started in this block end with this process, also in sessions of its own.

    What has been given an environment without the mark is not found.
    """
    if sys.platform != "linux":
        yield
        return
    _MARKS.enter()
    try:
        yield
    finally:
        _MARKS.leave()


def _watch(mark: str) -> None:
    """Start the process that waits for the end of this one; it holds no file of ours open."""
    theirs, _ = os.pipe()  # the end that stays is closed by the end of this process
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    command = [sys.executable, "-I", "-S", __file__, mark, str(os.getpid())]
    actions = [(os.POSIX_SPAWN_DUP2, theirs, 0), *nowhere]
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    try:
        watcher = os.posix_spawn(
            sys.executable, command, environment, file_actions=actions, setsid=True
        )
    finally:
        os.close(theirs)
    atexit.register(_wake, watcher)


def _wake(watcher: int) -> None:
    """Let one that was stopped (SIGSTOP) see the end of this process."""
    with suppress(OSError):
        os.kill(watcher, signal.SIGCONT)


def main(mark: str, parent: int) -> None:
    """Wait for the end of a process, and kill whatever bears its mark."""
    for number in STOPS:  # whoever ends the other process may mean its whole group
        signal.signal(number, signal.SIG_IGN)
    _wait(parent)
    while left := _bearers(mark):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it has ended, or may not be killed
                continue
        time.sleep(0.05)  # also where one cannot be killed at once


def _wait(parent: int) -> None:
    """Until a process has ended; a pipe alone may be held open by what it has forked."""
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # older kernels
        os.read(0, 1)
        return
    select.select([handle], [], [])


def _bearers(mark: str) -> list[int]:
    """Living processes that have the mark in their environment, or hold the pipe."""
    wanted, pipe = f"{VARIABLE}={mark}".encode(), os.readlink("/proc/self/fd/0")
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as handle:
                bears = wanted in handle.read().split(b"\0")
            files = f"/proc/{entry}/fd"
            if bears or pipe in (os.readlink(f"{files}/{name}") for name in os.listdir(files)):
                found.append(int(entry))
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
