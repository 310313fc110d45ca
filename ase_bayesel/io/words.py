"""Numbers beside nouns, in sentences for people."""

from __future__ import annotations


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
