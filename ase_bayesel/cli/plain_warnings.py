"""Python's warnings as lines of their own, without the place in the source that gave them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ThermostatWarning


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as ``warning: ...`` on standard error while the block runs."""
    with warnings.catch_warnings():
        warnings.showwarning = _told
        yield


@contextmanager
def without_thermostats(exploring: Callable[[], bool]) -> Iterator[None]:
    """Leave warnings of thermostats to the progress of an exploration, which names the walker.

    Parameters
    ----------
    exploring
        Whether there is one at the moment; else they are shown like all others.
    """
    with warnings.catch_warnings():
        before = warnings.showwarning

        def told(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not (issubclass(category, ThermostatWarning) and exploring()):
                before(message, category, *place, **more)

        warnings.showwarning = told
        yield


def _told(message: Warning | str, *place: Any, **more: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
