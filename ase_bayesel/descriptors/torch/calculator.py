"""The model behind a torch descriptor as an ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ...structures.calculators import PotentialCalculator

if TYPE_CHECKING:
    from .descriptor import TorchDescriptor


class TorchCalculator(PotentialCalculator):
    """ASE calculator of the energies in a descriptor's forward pass."""

    def __init__(self, descriptor: TorchDescriptor) -> None:
        super().__init__()
        self.descriptor = descriptor

    def evaluate(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Of one pass; see `PotentialCalculator.evaluate`."""
        forward = self.descriptor.forward(atoms)
        gradient = forward.gradient(1.0, last=True)
        return forward.energy, -gradient.positions, gradient.strain
