"""Being asked to stop, by a scheduler whose time limit is near or by a user at the keyboard."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
