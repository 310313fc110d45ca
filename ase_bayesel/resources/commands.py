"""Running a command: without a shell, logged, limited in time, and never outliving us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ..errors import CommandError, MissingProgramError, TerminatedError, TimeLimitError
from . import supervise

SUPERVISOR = (sys.executable, "-I", "-S", str(supervise.__file__))
TAIL_LINES, TAIL_BYTES = 5, 4096
TERMINATED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""Exit codes where the program was ended by SIGTERM, or its supervisor before it could start it."""
PATIENCE_S = 10.0
"""For a supervisor to end what it supervises."""
CANNOT_RUN = (126, 127)
"""What shells, launchers and linkers end with if there is no program that they can start."""


def run_command(
    command: Sequence[str],
    log: Path,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a command and yield its output line by line, which is also appended to ``log``.

    The command and its children are killed when the time is up, when the iteration
    is left early, and when this process dies (see `supervise`).

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
    MissingProgramError
        If the program, or one that it is to start, cannot be started.
    TerminatedError
        If somebody else has ended it by SIGTERM, as a scheduler does when the time is up.
    CommandError
        If it ends with another exit code than 0.
    TimeLimitError
        If the time is up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
    with open(log, "a", encoding="utf-8") as copy:
        copy.write(f"$ {' '.join(command)}\n")
        copy.flush()
        process = _started(command, environment)
        timer = threading.Timer(time_limit_s or 0.0, process.terminate)
        timer.daemon = True
        if time_limit_s is not None:
            timer.start()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = raw.decode(errors="replace")
                copy.write(line)
                copy.flush()
                if line.strip():
                    tail.append(line.strip())
                yield line.rstrip("\n")
            code = process.wait()
        finally:
            timer.cancel()
            end_supervised(process)
            process.stdout.close()
    if code == 0:
        return
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeLimitError(f"{command[0]}: stopped after {time_limit_s:.0f} s; see {log}")
    raise _error(command[0], code, log, list(tail))


def run_program(
    command: Sequence[str],
    directory: Path,
    output: str,
    time_limit_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command in a directory to its end; what it prints goes to files there.

    The command and its children are killed when the time is up, on an exception in this
    thread, and when this process dies.

    Parameters
    ----------
    command, time_limit_s, environment
        As in `run_command`.
    directory
        Where it runs.
    output
        Name of the file for its standard output; that for its errors is ``output`` + ``.err``.

    Raises
    ------
    CommandError
        As `run_command`, of the same kinds.
    """
    out, errors = directory / output, directory / f"{output}.err"
    with open(out, "wb") as to_out, open(errors, "wb") as to_errors:
        process = _started(command, environment, directory, to_out, to_errors)
        try:
            code = process.wait(time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise TimeLimitError(
                f"{command[0]}: stopped after {time_limit_s:.0f} s; see {out}"
            ) from error
        finally:
            end_supervised(process)
    if code:
        raise _error(command[0], code, out, _last_lines(errors) or _last_lines(out))


def _error(program: str, code: int, log: Path, tail: Sequence[str]) -> CommandError:
    """What an exit code other than 0 says."""
    if code in TERMINATED:
        return TerminatedError(f"{program}: was terminated by a signal; see {log}")
    kind = MissingProgramError if code in CANNOT_RUN else CommandError
    last = "; ".join(tail) or "no output"
    return kind(f"{program}: exit code {code}; see {log}. It ended with: {last}")


def _last_lines(path: Path) -> list[str]:
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = handle.read().decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()][-TAIL_LINES:]


def _started(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    directory: Path | None = None,
    output: int | IO = subprocess.PIPE,
    errors: int | IO = subprocess.STDOUT,
) -> subprocess.Popen:
    """The command under its supervisor, whose standard input keeps it alive."""
    variables = {**os.environ, **(environment or {})}
    program = shutil.which(command[0], path=variables.get("PATH"))
    if program is None:
        raise MissingProgramError(
            f"{command[0]}: cannot be started (no such program); install it, or give its path"
        )
    return subprocess.Popen(
        [*SUPERVISOR, os.path.abspath(program), *command[1:]],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=variables,
        start_new_session=True,
    )


def release(process: subprocess.Popen) -> None:
    """Tell a supervisor, also one that was stopped (SIGSTOP), to end what it supervises."""
    assert process.stdin is not None
    process.stdin.close()
    process.send_signal(signal.SIGCONT)


def end_supervised(process: subprocess.Popen) -> None:
    """Let the supervisor kill all that it supervises, unless it has ended already.

    One that does not end is killed with all that is below it.
    """
    release(process)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        for pid in (process.pid, *supervise.descendants(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
