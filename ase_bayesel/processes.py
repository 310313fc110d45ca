"""Running a command: without a shell, logged, limited in time, and never outliving us."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import CommandError, TimeLimitError

PR_SET_PDEATHSIG = 1
TAIL_LINES = 5


def run_command(
    command: Sequence[str],
    log: Path,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a command and yield its output line by line, which is also appended to ``log``.

    The command and its children are killed when the time is up, when the iteration
    is left early, and (on Linux) when this process dies.

    Parameters
    ----------
    command
        Program and arguments; no shell interprets them.
    log
        File that receives everything the command prints.
    time_limit_s
        Seconds of wall time, None for no limit.
    environment
        Added to this process's environment.

    Raises
    ------
    CommandError
        If the program cannot be started, or ends with another exit code than 0.
    TimeLimitError
        If the time is up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    with open(log, "a", encoding="utf-8") as copy:
        copy.write(f"$ {' '.join(command)}\n")
        copy.flush()
        process = _started(command, environment)
        timer = threading.Timer(time_limit_s or 0.0, _kill, [process])
        timer.daemon = True
        if time_limit_s is not None:
            timer.start()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                copy.write(line)
                copy.flush()
                if line.strip():
                    tail.append(line.strip())
                yield line.rstrip("\n")
            code = process.wait()
        finally:
            timer.cancel()
            _kill(process)
            process.stdout.close()
            process.wait()
    if code == 0:
        return
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeLimitError(f"{command[0]}: stopped after {time_limit_s:.0f} s; see {log}")
    last = "; ".join(tail) or "no output"
    raise CommandError(f"{command[0]}: exit code {code}; see {log}. It ended with: {last}")


def _started(command: Sequence[str], environment: Mapping[str, str] | None) -> subprocess.Popen:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
        )
    except OSError as error:
        raise CommandError(f"{command[0]}: cannot be started ({error.strerror})") from error


def _die_with_parent():
    """What a child calls before the program starts; the library is loaded before the fork."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


def _kill(process: subprocess.Popen) -> None:
    """Kill the whole process group; its leader may be gone already."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
