"""The command `bayesel`: parsing, tables, progress and report pages."""

import sys

__all__ = ["app"]


def app() -> None:
    """Run the command. ``bayesel run`` knows signals before it loads what it needs, for seconds."""
    from .plain_warnings import plain_warnings
    from .stopping import early_signals

    with early_signals(sys.argv[1:2] == ["run"]), plain_warnings():
        from .main import app as commands

        commands()
