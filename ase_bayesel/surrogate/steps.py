"""Work that tells how far it is: generators whose value counts too."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class Steps(Iterator[S], Generic[S, R]):
    """The steps of a generator, and once they are through its ``value``.

    ``for done in steps: ...`` and then ``steps.value``, which is what the generator returned.
    A loop that is left before leaves the generator where it is; `close` ends it.
    """

    value: R

    def __init__(self, generator: Generator[S, None, R]) -> None:
        self._generator = generator
        self._ended = False

    def __next__(self) -> S:
        """The next step."""
        try:
            return next(self._generator)
        except StopIteration as end:
            if not self._ended:
                self.value, self._ended = end.value, True
            raise

    def close(self) -> None:
        """End the generator; what it raises then is raised here."""
        self._generator.close()
