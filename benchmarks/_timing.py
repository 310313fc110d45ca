"""What every benchmark needs: one thread, interleaved timings, a table, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PACKAGES = ("torch", "numpy", "scipy", "ase", "matscipy", "mace-torch", "numba")


def use_one_thread() -> None:
    """Start the script again with one thread per library, unless that is already so.

    The libraries read these variables when they are loaded, hence the new start.
    """
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    slot_s: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of a call of each function, taken in turns: A B C A B C ...

    Parameters
    ----------
    calls
        Functions of no argument, by name.
    rounds
        How often each function gets its turn, after one turn that is not counted.
    slot_s
        A function is called in its turn until this many seconds have passed; the
        turn counts with the mean of its calls.
    clock
        Seconds. ``time.process_time`` counts this process's CPU seconds, which on
        one thread is the time that the work takes on a core of its own; use it
        where other processes share the machine.
    """
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            turns[name].append(_seconds_per_call(call, slot_s, clock))
    return {name: statistics.median(seconds[1:]) for name, seconds in turns.items()}


def _seconds_per_call(
    call: Callable[[], object], slot_s: float, clock: Callable[[], float]
) -> float:
    start, n_calls, elapsed = clock(), 0, 0.0
    while elapsed < slot_s or n_calls == 0:
        call()
        n_calls += 1
        elapsed = clock() - start
    return elapsed / n_calls


def clock_of(device: str) -> Callable[[], float]:
    """This process's CPU seconds, or those of the wall where another ``device`` does the work."""
    return time.process_time if device == "cpu" else time.perf_counter


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; numbers are shown with three digits."""
    lines = [list(header), ["---"] * len(header), *[[_cell(x) for x in row] for row in rows]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100.0 else f"{value:.3g}"


def machine(device: str = "cpu") -> dict[str, str]:
    """Date, processor and its load, and versions of Python and of the packages that matter.

    With the name of the ``device`` of PyTorch where that is a GPU.
    """
    found = {
        "date": date.today().isoformat(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load": f"load average {os.getloadavg()[0]:.1f}",
        **({} if device == "cpu" else {"gpu": gpu_name(device)}),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine_line(device: str = "cpu") -> str:
    """`machine` in one line of text."""
    return ", ".join(
        value if key in ("date", "cpu", "gpu", "load", "system") else f"{key} {value}"
        for key, value in machine(device).items()
    )


def gpu_name(device: str) -> str:
    """Name of the card that is a ``device`` of PyTorch; "cpu" for the CPU."""
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
