"""Being asked to stop, by a scheduler whose time limit is near or by a user at the keyboard."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_RUN_AGAIN = 75
GRACE_S = 10.0
"""How long the step under way may take after that; what is left of it is done again."""


class StopRequested(KeyboardInterrupt):
    """Raised where the step under way takes longer than the grace, or on a second request."""


class StopRequests:
    """Whether one has come.

    Attributes
    ----------
    signal
        Name of the signal that asked; None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: str | None = None

    def take(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise StopRequested
        self.signal = signal.Signals(number).name
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    def heard(self) -> None:
        """The step is over; ending workers and jobs after it may take longer than the grace."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def lose_patience(self, number: int, frame: FrameType | None) -> None:
        """The handler of the timer."""
        raise StopRequested


@contextmanager
def early_signals(takes: bool) -> Iterator[None]:
    """Have SIGTERM and SIGINT end this process with `EXIT_RUN_AGAIN`, before and after all else.

    Between, `stop_requests` sees to them. What ends by itself does not heed them any more.

    Parameters
    ----------
    takes
        Whether to do so.
    """
    numbers = (signal.SIGINT, signal.SIGTERM) if takes else ()
    for number in numbers:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing runs that would have to be saved."""
    os.write(2, f"stopped on {signal.Signals(number).name}: run again to go on\n".encode())
    os._exit(EXIT_RUN_AGAIN)


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Take SIGTERM and SIGINT as requests, in the main thread, while the block runs."""
    requests = StopRequests()
    handlers = {
        signal.SIGTERM: requests.take,
        signal.SIGINT: requests.take,
        signal.SIGALRM: requests.lose_patience,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield requests
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)
