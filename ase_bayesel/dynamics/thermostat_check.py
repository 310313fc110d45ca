"""Does the thermostat keep its temperature? A check of the running mean; state to state."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from ..errors import ThermostatWarning

RECENT = 50
"""Steps over which the mean temperature that weakens the bias forgets.

See `TauRule.max_excess_temperature`."""


@dataclass(frozen=True)
class ThermostatCheck:
    """The running mean of temperature over target, and whether it stays where chance puts it.

    In the canonical ensemble the instantaneous temperature of f degrees of freedom has
    the variance 2 T^2 / f. The mean of n steps should lie within

        |<T / T_target> - 1| <= tolerance + z sqrt(2 / (f n_eff)),

    with n_eff = n (1 - r) / (1 + r) independent samples for a correlation r of successive
    steps (that of a first-order autoregressive process), estimated from the run. What
    stays outside for ``patience`` steps in a row is reported once: a bias that feeds
    heat faster than the thermostat takes it, a time step that is too long, or a potential
    that falls into a hole.

    Attributes
    ----------
    memory
        Steps over which the means forget.
    patience
        Steps in a row outside the band before the warning.
    tolerance, z
        Band: systematic deviation that is let pass, and multiples of the standard error.
    n, mean, square, product, last, recent
        Steps seen; running means of the ratio x = T / T_target, of its square and of the
        product with the one before; the last ratio; the mean of the last `RECENT` steps.
    outside
        Steps in a row outside the band.
    warning
        What to tell; empty unless the check has fired.
    """

    memory: int = 500
    patience: int = 100
    tolerance: float = 0.2
    z: float = 3.0
    n: int = 0
    mean: float = 0.0
    square: float = 0.0
    product: float = 0.0
    last: float = 0.0
    recent: float = 1.0
    outside: int = 0
    warning: str = ""

    def after(self, temperature_K: float, target_K: float, n_dof: int) -> ThermostatCheck:
        """The check after one more step; ``n_dof`` degrees of freedom move.

        Gives a `ThermostatWarning` at the step where it fires. A target of 0, or nothing
        that moves, leaves it as it is.
        """
        if target_K <= 0 or n_dof < 1:
            return self
        ratio = temperature_K / target_K
        before = ratio if self.n == 0 else self.last
        share = 1.0 / min(self.n + 1, self.memory)
        new = replace(
            self,
            n=self.n + 1,
            mean=self.mean + share * (ratio - self.mean),
            square=self.square + share * (ratio**2 - self.square),
            product=self.product + share * (ratio * before - self.product),
            last=ratio,
            recent=self.recent + (ratio - self.recent) / RECENT,
        )
        far = abs(new.mean - 1.0) > new.band(n_dof)
        new = replace(new, outside=self.outside + 1 if far else 0)
        if new.warning or new.outside < self.patience:
            return new
        message = (
            f"mean temperature {new.mean * target_K:.0f} K where {target_K:.0f} K is asked for "
            f"(expected within {100 * new.band(n_dof):.0f}%)"
        )
        warnings.warn(message, ThermostatWarning, stacklevel=2)
        return replace(new, warning=message)

    def band(self, n_dof: int) -> float:
        """Largest deviation of the mean ratio from 1 that is not reported."""
        return self.tolerance + self.z * (2.0 / (n_dof * self.n_independent)) ** 0.5

    @property
    def n_independent(self) -> float:
        """Number n_eff of independent samples in the running mean, at least 1."""
        variance = self.square - self.mean**2
        if variance <= 0:
            return 1.0
        correlation = min(max((self.product - self.mean**2) / variance, 0.0), 1.0)
        n = min(self.n, self.memory)
        return max(1.0, n * (1.0 - correlation) / (1.0 + correlation))
