"""Tasks that the tests of resources hand to workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ase_bayesel.resources.commands import run_program


def process() -> int:
    return os.getpid()


def job() -> str:
    """Number of the SLURM job that this runs in."""
    return os.environ["SLURM_JOB_ID"]


def nap(seconds: float, folder: Path | None = None) -> int:
    """Sleep; leaves a file with the number of this process's id in the folder."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def meet(folder: Path, n: int) -> int:
    """This process's id, once ``n`` tasks have come here and are under way at the same time."""
    with open(folder / f"here{time.monotonic_ns()}_{os.getpid()}", "x"):
        pass
    end = time.monotonic() + 120.0
    while len(list(folder.glob("here*"))) < n:
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {n} tasks at a time")
        time.sleep(0.02)
    return os.getpid()


def logged(number: int, seconds: float, folder: Path) -> int:
    """Appends a line to the file of this number when it starts, and one when it is done."""
    with open(folder / str(number), "a") as log:
        log.write("started\n")
    time.sleep(seconds)
    with open(folder / str(number), "a") as log:
        log.write("done\n")
    return number


def deadly(folder: Path, times: int) -> str:
    """Kills its process, ``times`` times in all."""
    deaths = len(list(folder.iterdir()))
    if deaths < times:
        (folder / f"death{deaths}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"survived {deaths}"


def program(folder: Path) -> None:
    """Runs a supervised program that runs another; both leave their ids."""
    inner = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    code = (
        "import os, subprocess, sys; print(os.getpid(), flush=True); "
        f"subprocess.run([sys.executable, '-c', {inner!r}])"
    )
    run_program([sys.executable, "-c", code], folder, "pids")


def child(folder: Path) -> None:
    """The same without a supervisor."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with open(folder / "pids", "w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)


def wrong(what: str) -> None:
    raise ValueError(what)


class Stubborn(Exception):
    """Cannot be unpickled."""

    def __init__(self, one, two) -> None:
        super().__init__(f"{one} and {two}")


def stubborn() -> None:
    raise Stubborn(1, 2)


def unpicklable() -> object:
    return lambda: None


def threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def stray(folder: Path, ending: str) -> None:
    """Start a process in a session of its own, as some engines do, and end in one way or another.

    The id of that process goes into the file ``pids``.
    """
    code = "import time; time.sleep(600)"
    started = subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True)
    (folder / "pids").write_text(str(started.pid))
    if ending == "dies":
        os._exit(1)
    if ending == "hangs":
        time.sleep(600)
