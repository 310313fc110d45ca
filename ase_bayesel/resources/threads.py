"""How many threads a task gets, and how many processes of them there can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit the BLAS libraries, but not torch, to one thread for a while.

    Products of matrices of some hundred rows gain nothing from a second one, and wait long for it
    where the cores have other work.
    """
    return threadpool_limits(1, user_api="blas")


def usable_processes(threads: int) -> int:
    """How many processes of so many threads the cores take that this process may use."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, usable // threads)
