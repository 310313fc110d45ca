"""One call in a process of its own, which ends when its time is up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as TimeIsUp
from typing import Any, TypeVar

from ..errors import TimeLimitError
from .pool import PoolExecutor

T = TypeVar("T")


def call_apart(time_limit_s: float, function: Callable[..., T], /, *args: Any) -> T:
    """The result of a function that runs in another process, with as many threads as here.

    The process, and all that it has started, end with the call, when the time is up, and with this
    process.

    Parameters
    ----------
    time_limit_s
        Seconds of wall time, the start of the process included.
    function, args
        As of `TaskExecutor.submit`.

    Raises
    ------
    TimeLimitError
        If the time is up.
    LostTaskError
        If the function ends its process, again and again.
    Exception
        What the function raises.
    """
    executor = PoolExecutor(1)
    try:
        task = executor.submit(function, *args)
        try:
            return task.result(time_limit_s)
        except TimeIsUp as error:
            if task.done():  # in time after all; or the error is the function's own
                return task.result()
            raise TimeLimitError(f"stopped after {time_limit_s:.0f} s") from error
    finally:
        executor.close()
