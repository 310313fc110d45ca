"""Work that tells how far it is: generators whose value counts too."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class Steps(Generic[S, R]):
    """The steps of a generator, and once they are through its ``value``.

    ``for done in steps: ...`` and then ``steps.value``, which is what the generator returned.
    Where the loop is left before, the generator is closed.
    """

    value: R

    def __init__(self, generator: Generator[S, None, R]) -> None:
        self._generator = generator

    def __iter__(self) -> Iterator[S]:
        self.value = yield from self._generator
