"""Properties that are formed when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):
    """A property that is formed when first asked for, as by ``functools.cached_property``.

    That one holds a lock meanwhile in Python 3.11, and walkers in lock-step, which
    wait for each other in the middle of an evaluation, would wait for ever.
    """

    def __init__(self, method: Callable[[Any], T]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> once[T] | T:
        if instance is None:
            return self
        value = vars(instance)[self.method.__name__] = self.method(instance)
        return value
