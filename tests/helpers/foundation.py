"""Foundation models by their packages, as the adapters take them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Family:
    """An adapter, how its package makes a calculator, and what its features keep.

    ``weights`` says whether they are real ones, which come with the package.
    """

    package: str
    adapter: str
    make_calculator: Callable[[], Any]
    model: str | None = None
    reflections: bool = True
    weights: str = "real"

    @property
    def factory(self) -> str:
        return f"ase_bayesel.descriptors.foundation.{self.adapter}"

    def descriptor(self, **parameters):
        from ase_bayesel.descriptors.importing import imported_descriptor

        return imported_descriptor(self.factory, parameters, self.model)

    def parameter(self):
        """Itself, for tests that are skipped where the package is missing."""
        return pytest.param(self, marks=pytest.mark.optional(self.package), id=self.package)


def chgnet_calculator():
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def sevennet_calculator():
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


REAL = [
    Family("chgnet", "chgnet:CHGNetDescriptor", chgnet_calculator),
    Family("sevenn", "sevennet:SevenNetDescriptor", sevennet_calculator, reflections=False),
]
