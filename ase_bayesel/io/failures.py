"""What other people's code raises: whether it is a failure, and what is kept of it."""

from __future__ import annotations

import signal

MOST_CHARACTERS = 2000
"""So long is the longest reason that is kept; of a longer one the beginning and the end."""
END = 400


def is_failure(error: BaseException) -> bool:
    """Whether an error is a failure of the code that raised it: no request to end this process.

    Anything is, also a SystemExit and what derives from BaseException alone, as the panics of Rust
    do. A KeyboardInterrupt is one where the signal SIGINT has a handler that raises no such error,
    as in ``bayesel run`` and its workers: then it was raised by the code itself.
    """
    if isinstance(error, GeneratorExit):
        return False
    if isinstance(error, KeyboardInterrupt):
        handler = signal.getsignal(signal.SIGINT)
        return type(error) is KeyboardInterrupt and handler is not signal.default_int_handler
    return True


def reason_of(error: BaseException) -> str:
    """An error in words, ``RuntimeError: no licence``, never longer than `MOST_CHARACTERS`."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as second:
        if not is_failure(second):
            raise
        text = "its message cannot be read"
    return shortened(f"{name}: {text}" if text else name)


def shortened(text: str) -> str:
    """A text that any file can hold, the middle left out where it is long."""
    n = len(text)
    if n > MOST_CHARACTERS:
        gap = f" [... {n} characters ...] "
        text = text[: MOST_CHARACTERS - END - len(gap)] + gap + text[-END:]
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
