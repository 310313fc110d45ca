"""Being asked to stop, by a scheduler whose time limit is near or by a user at the keyboard."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_RUN_AGAIN = 75
GRACE_S = 10.0
"""How long the step under way may take after that; what is left of it is done again."""


class StopRequested(KeyboardInterrupt):
    """Raised at once, or where the step under way takes longer than the grace or is asked twice."""


class StopRequests:
    """Whether one has come.

    Attributes
    ----------
    signal
        Name of the signal that asked; None as long as there was none.
    tell
        Gets, within the signal handler, a line that says what happens now; by default it goes to
        standard error.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.tell: Callable[[str], None] = _to_standard_error

    def take(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise StopRequested
        self.signal = signal.Signals(number).name
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        again = "Ctrl-C again" if number == signal.SIGINT else f"another {self.signal}"
        self.tell(
            f"stopping: the step under way is finished, for {GRACE_S:.0f} s at most, and saved; "
            f"{again} does not wait for it"
        )

    def heard(self) -> None:
        """The step is over; ending workers and jobs after it may take longer than the grace."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def lose_patience(self, number: int, frame: FrameType | None) -> None:
        """The handler of the timer."""
        raise StopRequested


def _to_standard_error(line: str) -> None:
    """Past all buffers, which the handler of a signal may not touch; not behind a bar."""
    begin = "\n" if os.isatty(2) else ""
    os.write(2, f"{begin}{line}\n".encode())


@contextmanager
def early_signals() -> Iterator[None]:
    """Have SIGTERM and SIGINT end this process with `EXIT_RUN_AGAIN`, before and after all else.

    Between, `stop_requests` sees to them. What ends by itself does not heed them any more.
    """
    with _taken(_leaving(lambda number: _told(number, "run again to go on"))):
        yield


@contextmanager
def _taken(handler: Handler) -> Iterator[None]:
    """Have a handler take SIGTERM and SIGINT in the block, and nobody after it."""
    for number in SIGNALS:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _leaving(tell: Callable[[int], str]) -> Handler:
    """A handler that ends this process: nothing runs that would have to be saved."""

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{tell(number)}\n".encode())
        os._exit(EXIT_RUN_AGAIN)

    return leave


def _told(number: int, what_next: str) -> str:
    return f"stopped on {signal.Signals(number).name}: {what_next}"


@contextmanager
def stop_at_once(what_next: str, told: list[str]) -> Iterator[None]:
    """Have SIGTERM and SIGINT raise `StopRequested` in the block, and one more end this process.

    So does a timer after `GRACE_S`, since an exception may be lost where Python lets none out, as
    in a finaliser. What ends by itself does not heed signals any more.

    Parameters
    ----------
    what_next
        What is told: whether it goes on when it runs again.
    told
        Gets what is to be told.
    """

    def raise_it(number: int, frame: FrameType | None) -> None:
        told.append(_told(number, what_next))
        for each in (*SIGNALS, signal.SIGALRM):
            signal.signal(each, _leaving(lambda _: told[0]))
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        raise StopRequested

    with _taken(raise_it):
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)


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
