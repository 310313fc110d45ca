"""The strength tau of the bias from running averages; pure state to state.

Hyperactive learning (van der Oord et al. 2022) runs MD on E - tau sigma_E. tau
is set so that the bias force is a chosen fraction tau_rel of the unbiased force.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class TauRule:
    """How tau follows from the running averages.

    Attributes
    ----------
    tau_rel
        Aimed ratio of the mean bias force to the mean unbiased force.
    delay
        Number of evaluations before the bias is switched on.
    tau_max
        Upper limit of tau, so that a structure without uncertainty gradient
        cannot drive it to infinity.
    memory
        Number of evaluations over which the averages forget.
    interval
        Only the first of this many evaluations enters the averages. None leaves
        it to the calculator: 1 where the unbiased forces are there anyway or
        cheap, 10 where they cost a second backward pass through a neural network.
    """

    tau_rel: float
    delay: int = 20
    tau_max: float = 50.0
    memory: int = 200
    interval: int | None = None

    def __post_init__(self) -> None:
        if not self.tau_rel >= 0 or not np.isfinite(self.tau_rel):
            raise ValueError(f"tau_rel: must be finite and not negative, got {self.tau_rel}")
        if self.delay < 1 or self.memory < 1 or not self.tau_max > 0:
            raise ValueError("delay and memory must be at least 1 and tau_max positive")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"interval: must be at least 1, got {self.interval}")


@dataclass(frozen=True)
class TauHistory:
    """Running means of the unbiased force and of |grad sigma_E|, per atom, eV/A.

    ``n`` counts all evaluations, also those that did not enter the means.
    """

    n: int = 0
    force: float = 0.0
    gradient: float = 0.0

    def due(self, interval: int) -> bool:
        """Whether the next evaluation enters the means."""
        return self.n % interval == 0

    def skipped(self) -> TauHistory:
        """History after one more evaluation that does not enter the means."""
        return replace(self, n=self.n + 1)

    def updated(
        self, forces: np.ndarray, gradient: np.ndarray, rule: TauRule, interval: int = 1
    ) -> TauHistory:
        """History after one more evaluation; ``forces`` and ``gradient`` are ``(n_atoms, 3)``.

        With an ``interval`` this evaluation stands for those that will be skipped.
        """
        share = 1.0 / min(self.n // interval + 1, max(1, rule.memory // interval))
        force = float(np.mean(np.linalg.norm(forces, axis=1)))
        slope = float(np.mean(np.linalg.norm(gradient, axis=1)))
        return TauHistory(
            self.n + 1,
            self.force + share * (force - self.force),
            self.gradient + share * (slope - self.gradient),
        )

    def tau(self, rule: TauRule) -> float:
        """tau = tau_rel <|F|> / <|grad sigma_E|>, 0 during the delay, at most ``tau_max``."""
        if self.n < rule.delay or rule.tau_rel == 0:
            return 0.0
        if self.gradient <= 0.0:
            return rule.tau_max
        return min(rule.tau_max, rule.tau_rel * self.force / self.gradient)
