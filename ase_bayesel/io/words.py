"""Numbers beside nouns, and names, in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

MOST_LISTED = 10
"""So many names of a long list are told."""
PLAIN_BELOW = 1e7
"""Larger numbers are told with an exponent."""


def duration(seconds: float) -> str:
    """A time in the unit that fits it: ``3.1 s``, ``12.5 min``, ``2.02 h``."""
    if seconds >= 3600:
        return f"{rounded(seconds / 3600, 3)} h"
    return f"{rounded(seconds / 60, 3)} min" if seconds >= 60 else f"{rounded(seconds)} s"


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


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The known word that is nearest to one: ``; did you mean kpts?``; empty where none is near."""
    found = get_close_matches(word, known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def listed(names: Sequence[str]) -> str:
    """Names with commas between them, of many the first, and how many more there are."""
    told, more = ", ".join(names[:MOST_LISTED]), len(names) - MOST_LISTED
    return f"{told} and {more} more" if more > 0 else told


def rounded(value: float, digits: int = 2) -> str:
    """A number with so many significant digits: ``0.012``; ``123`` where ``g`` has 1.2e+02."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < PLAIN_BELOW else text
