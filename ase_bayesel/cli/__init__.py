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
    from .stopping import EXIT_RUN_AGAIN, early_signals, stop_at_once

    command = "".join(sys.argv[1:2])
    what_next = "run again to go on" if command in GO_ON else "run again"
    told: list[str] = []
    try:
        with (
            early_signals() if command in SAVE else stop_at_once(what_next, told),
            plain_warnings(),
        ):
            from .main import app as commands

            commands()
    except BaseException:
        if not told:
            raise
        print(*told, file=sys.stderr)  # whatever became of it on its way
        sys.exit(EXIT_RUN_AGAIN)
