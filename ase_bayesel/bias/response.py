"""Forces and stress of one part of a biased surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .kinds import BiasTerms


class Response(NamedTuple):
    """``forces (n_atoms, 3)`` eV/A and ``stress (6,)`` eV/A^3 in Voigt order, or None."""

    forces: np.ndarray
    stress: np.ndarray | None

    def plus(self, factor: float, other: Response) -> Response:
        """The sum of this and ``factor`` times another; a stress needs both."""
        stress = None
        if self.stress is not None and other.stress is not None:
            stress = self.stress + factor * other.stress
        return Response(self.forces + factor * other.forces, stress)

    def scaled(self, factor: float) -> Response:
        """``factor`` times this."""
        return Response(factor * self.forces, None if self.stress is None else factor * self.stress)


class Parts(NamedTuple):
    """The MLIP's own response, and that of U, the function that the bias follows (see `Bias`).

    ``of_U`` is minus the gradient of U: forces and stress as if U were an energy.
    """

    unbiased: Response
    of_U: Response

    def bias(self, terms: BiasTerms) -> Response:
        """What the bias adds to the MLIP's response."""
        bias = self.of_U.scaled(-terms.strength)
        if terms.dE_bias_dE:
            bias = bias.plus(terms.dE_bias_dE, self.unbiased)
        return bias if self.unbiased.stress is not None else Response(bias.forces, None)
