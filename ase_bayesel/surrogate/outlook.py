"""What a further batch like the last would leave of a property's deviations."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Outlook:
    """Root mean square deviations over the intended structures, of one property.

    eV/atom for energies, eV/A for force components; without scales.

    Attributes
    ----------
    before, now
        Without the last batch, and with it; hyperparameters are those of now.
    noise
        Of the fit, in the same units: what is left where the deviation is zero.
    """

    before: float
    now: float
    noise: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in vars(self).values()):
            raise ValueError("an outlook holds numbers that it cannot have")

    @property
    def next(self) -> float:
        """The deviation after a further batch that adds as much to 1 / deviation^2 as the last."""
        if self.now == 0.0 or self.before <= self.now:
            return self.now
        return self.now / math.sqrt(2.0 - (self.now / self.before) ** 2)

    @property
    def gain(self) -> float:
        """The share of the error by which that batch lowers it, the noise being the rest of it."""
        whole = math.hypot(self.now, self.noise)
        return 1.0 - math.hypot(self.next, self.noise) / whole if whole else 0.0
