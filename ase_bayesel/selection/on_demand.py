"""Values of many structures, made one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class OnDemand(Sequence):
    """Values made when they are asked for; with ``size`` they are kept while there is room.

    Parameters
    ----------
    count
        How many there are.
    make
        One of them, by its index.
    size
        Bytes of one; None to keep none.
    room
        Bytes that are kept; the rest is made again.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], Any],
        size: Callable[[Any], int] | None = None,
        room: int = 0,
    ) -> None:
        self._count, self._make, self._size = count, make, size
        self._kept: dict[int, Any] = {}
        self._left = room

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if index in self._kept:
            return self._kept[index]
        made = self._make(index)
        if self._size is not None and self._size(made) <= self._left:
            self._left -= self._size(made)
            self._kept[index] = made
        return made
