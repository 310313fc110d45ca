"""The command `bayesel`: parsing, tables, progress and report pages."""

import sys

__all__ = ["app"]
GO_ON = (["run"], ["label"])
"""Commands that end on a signal with a code of their own, and go on when they run again."""


def app() -> None:
    """Run the command. Those of `GO_ON` know signals before they load what they need."""
    from .plain_warnings import plain_warnings
    from .stopping import early_signals

    with early_signals(sys.argv[1:2] in GO_ON), plain_warnings():
        from .main import app as commands

        commands()
