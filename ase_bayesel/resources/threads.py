"""How many threads a task gets, and how many processes of them there can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Limit torch and the BLAS libraries to ``n`` threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)


def usable_processes(threads: int) -> int:
    """How many processes of so many threads the cores take that this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // threads)
