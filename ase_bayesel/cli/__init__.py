"""The command `bayesel`: parsing, tables, progress and report pages."""

import sys

__all__ = ["app"]
SAVE = ("run", "label")
"""Commands that finish the step under way when a signal comes, and save."""
GO_ON = (*SAVE, "pool")
"""Commands that go on when they run again."""


def app() -> None:
    """Run the command, which knows signals before it loads what it needs."""
    from .plain_warnings import plain_warnings
    from .stopping import EXIT_RUN_AGAIN, StopRequested, early_signals, stop_at_once

    command = "".join(sys.argv[1:2])
    what_next = "run again to go on" if command in GO_ON else "run again"
    try:
        with early_signals() if command in SAVE else stop_at_once(what_next), plain_warnings():
            from .main import app as commands

            commands()
    except StopRequested as stop:  # while it loads
        print(stop, file=sys.stderr)
        sys.exit(EXIT_RUN_AGAIN)
