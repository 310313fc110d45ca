"""Processes: whether they live, what is below them, and waiting for what they do."""

import time
from pathlib import Path


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids_in(folder, n):
    """Process ids that tasks have left in the file ``pids``."""
    file = folder / "pids"
    wait_for(lambda: file.exists() and len(file.read_text().split()) == n)
    return [int(pid) for pid in file.read_text().split()]


def children(pid):
    """All processes below another."""
    found, newest = [], {pid}
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest}
        found += newest
    return found


def catches(pid, number):
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def has_loaded(pid, name):
    """Whether a library of this name is in the memory of a process."""
    return name in Path(f"/proc/{pid}/maps").read_text()
