"""A named number with its error bar."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Quantity:
    """A computed property; ``std`` is None where the model has no posterior."""

    name: str
    value: float
    unit: str
    std: float | None = None

    def scaled(self, factor: float) -> Quantity:
        """With its standard deviation times ``factor``, if it has one."""
        return self if self.std is None else replace(self, std=factor * self.std)
