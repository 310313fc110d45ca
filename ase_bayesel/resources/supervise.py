"""Runs one program and ends it, and all that it has started, together with whoever asked.

Run as a script, ``python -I -S supervise.py PROGRAM ARGUMENT...``, with a pipe as its standard
input; ``--pass FD`` before the program hands an open file over to it. When the other end of the
pipe closes, for whatever reason, or on SIGTERM, the program and its descendants are killed, also
those that have left its process group, as MPI ranks do.
It imports the standard library only, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CANNOT_RUN = 126
GRACE_S = 0.5
"""Between SIGTERM, on which an MPI launcher ends its ranks on other machines, and SIGKILL; and from
the end of a program to that of its daemons: Open MPI's removes the program's session directory."""


def main(command: list[str], passed: tuple[int, ...] = ()) -> int:
    """The program's exit code, 128 + signal where one has ended it, 126 where none can be run."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=passed
        )
    except OSError as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN
    for descriptor in passed:  # whoever holds the other end sees the program's death
        os.close(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: end(program))
    threading.Thread(target=end_with_pipe, args=[program], daemon=True).start()
    code = program.wait()
    wait_for_descendants()
    kill_all(program.pid)
    return code if code >= 0 else 128 - code


def end_with_pipe(program: subprocess.Popen) -> None:
    """Wait for the end of the pipe."""
    while os.read(0, 1):
        pass
    end(program)


def end(program: subprocess.Popen) -> None:
    """Terminate the program, then kill what is left, this process too."""
    signal_group(program.pid, signal.SIGTERM)
    wait_for_descendants()
    kill_all(program.pid)
    os._exit(128 + signal.SIGTERM)


def wait_for_descendants() -> None:
    """Until all have ended by themselves, for `GRACE_S` at most."""
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and descendants(os.getpid()):
        time.sleep(0.01)


def kill_all(group: int) -> None:
    """SIGKILL to a process group and to all descendants of this process."""
    signal_group(group, signal.SIGKILL)
    empty = 0
    while empty < 2:  # one look may miss whose parent dies during it
        left = descendants(os.getpid())
        empty = 0 if left else empty + 1
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def signal_group(group: int, number: int) -> None:
    """A signal to a process group, if it is still there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def descendants(ancestor: int) -> list[int]:
    """Living processes below another, on Linux; zombies do not live."""
    if sys.platform != "linux":
        return []
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as handle:
                    state, parent = handle.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            parents[int(entry)] = 0 if state == "Z" else int(parent)
    below, newest = [], [ancestor]
    while newest:
        newest = [pid for pid, parent in parents.items() if parent in newest]
        below += newest
    return below


if __name__ == "__main__":
    if sys.argv[1] == "--pass":
        sys.exit(main(sys.argv[3:], (int(sys.argv[2]),)))
    sys.exit(main(sys.argv[1:]))
