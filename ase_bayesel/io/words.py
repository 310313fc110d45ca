"""Numbers beside nouns, in sentences for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time in the unit that fits it: ``3.1 s``, ``12.5 min``, ``2.02 h``."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.2g} s"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts: ``1 pick``, ``2 picks``, ``1 label has``, ``0 labels have``.

    Parameters
    ----------
    number
        How many.
    one, many
        The words for one and for any other number; by default those for many have an ``s`` more.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"
