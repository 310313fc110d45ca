"""How many threads a task gets, and how many processes of them there can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from threadpoolctl import threadpool_limits


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Limit torch and the BLAS libraries to ``n`` threads for a while.

    PyTorch is not loaded for it: if it comes meanwhile, it is limited as soon as it is there.
    """
    limit = _TorchThreads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        limit.lift()


class _TorchThreads(MetaPathFinder):
    """A limit of PyTorch's threads: at once where it is loaded, or else when it has been.

    Parameters
    ----------
    n
        Threads.
    """

    def __init__(self, n: int) -> None:
        self._n, self._before = n, 0
        if "torch" in sys.modules:
            self._set(sys.modules["torch"])
        else:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """That of the finders after this one, whose loader also sets the threads of torch."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)  # by the limits around this one too
        sys.meta_path.insert(0, self)  # it may only have been looked for
        loader: Any = None if spec is None else spec.loader
        if loader is None:
            return spec
        execute = loader.exec_module

        def execute_and_limit(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._set(module)

        loader.exec_module = execute_and_limit
        return spec

    def lift(self) -> None:
        """Give PyTorch the threads that it had; a torch that came since, those it came with."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        elif self._before:
            sys.modules["torch"].set_num_threads(self._before)

    def _set(self, torch: Any) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._n)


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
