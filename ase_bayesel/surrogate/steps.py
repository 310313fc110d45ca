"""Work that tells how far it is: generators whose value counts too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

OnProgress = Callable[[int, int], None]
"""Called with (structures done, structures in all)."""
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


def finished(
    steps: Generator[int, None, R], total: int = 0, on_progress: OnProgress | None = None
) -> R:
    """Run a generator that yields counts to its end; returns its value."""
    counts = Steps(steps)
    for done in counts:
        if on_progress is not None:
            on_progress(done, total)
    return counts.value
