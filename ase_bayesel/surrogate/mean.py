"""The mean of a surrogate as an ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ..structures.calculators import PotentialCalculator

if TYPE_CHECKING:
    from .surrogate import Surrogate


class SurrogateCalculator(PotentialCalculator):
    """ASE calculator of a surrogate's mean: a linear interatomic potential."""

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def evaluate(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        """Of the mean; see `PotentialCalculator.evaluate`."""
        surrogate = self.surrogate
        phi, pullback = surrogate.descriptor.linearize(atoms)
        mean = surrogate.posterior.mean
        gradient, energy = pullback(mean), surrogate.baseline(atoms) + float(mean @ phi)
        return energy, -gradient.positions, gradient.strain
