"""tau from tau_rel: how strong the bias is, pure state to state."""

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
        Upper limit of tau, in its unit (see `Bias`). None for no limit but that of
        ``force_max``.
    memory
        Number of evaluations over which the averages forget.
    interval
        Only the first of this many evaluations enters the averages. None leaves
        it to the calculator: 1 where the unbiased forces are there anyway or
        cheap, 10 where they cost a second backward pass through a neural network.
    force_max
        Upper limit of the largest bias force tau |grad_i U| on an atom, eV/A. It is tau
        that is limited, one number for all atoms, so that the bias stays the gradient
        of an energy. Without it tau_rel feeds on itself: a bias that heats makes the
        unbiased forces larger, and these tau. The limit holds in every evaluation
        that enters the averages; in between, with an ``interval``, their running
        maximum stands for the gradient.
    max_excess_temperature
        Relative excess of the temperature over the thermostat's, as a mean of the last
        steps, at which tau is zero; it falls linearly from half of this on. So whatever
        tau_rel is, the bias stops heating there. A walker tells the excess; without a
        thermostat it is zero.
    """

    tau_rel: float
    delay: int = 20
    tau_max: float | None = None
    memory: int = 200
    interval: int | None = None
    force_max: float = 5.0
    max_excess_temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.tau_rel >= 0 or not np.isfinite(self.tau_rel):
            raise ValueError(f"tau_rel: must be finite and not negative, got {self.tau_rel}")
        if self.delay < 1 or self.memory < 1:
            raise ValueError("tau_rel: delay and memory must be at least 1")
        limits = [self.force_max, self.max_excess_temperature]
        limits += [] if self.tau_max is None else [self.tau_max]
        if not all(limit > 0 for limit in limits):
            raise ValueError("tau_max, force_max and max_excess_temperature must be positive")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"interval: must be at least 1, got {self.interval}")

    def limit(self, peak: float) -> float:
        """The largest tau for ``peak``, the largest |grad_i U| of all atoms."""
        return self.force_max / peak if peak > 0 else np.inf


@dataclass(frozen=True)
class TauHistory:
    """What the bias remembers of a trajectory.

    Attributes
    ----------
    n
        Evaluations so far, also those that did not enter the means.
    force, gradient
        Running means over atoms and evaluations of the unbiased force, eV/A, and |grad U|.
    peak
        Running maximum of |grad_i U|, which rises at once and falls within the memory.
    start_energy
        Unbiased energy of the trajectory's start, eV; None before its first evaluation.
    excess_temperature
        Relative excess of the recent temperature over its target.
    """

    n: int = 0
    force: float = 0.0
    gradient: float = 0.0
    peak: float = 0.0
    start_energy: float | None = None
    excess_temperature: float = 0.0

    def emptied(self) -> TauHistory:
        """The same trajectory with new averages."""
        return TauHistory(
            start_energy=self.start_energy, excess_temperature=self.excess_temperature
        )

    def due(self, interval: int) -> bool:
        """Whether the next evaluation enters the means."""
        return self.n % interval == 0

    def skipped(self) -> TauHistory:
        """History after one more evaluation that does not enter the means."""
        return replace(self, n=self.n + 1)

    def updated(
        self,
        forces: np.ndarray,
        gradient: np.ndarray,
        rule: TauRule,
        interval: int = 1,
        weights: np.ndarray | None = None,
    ) -> TauHistory:
        """History after one more evaluation.

        Parameters
        ----------
        forces
            ``(n_atoms, 3)`` unbiased forces, eV/A.
        gradient
            ``(n_atoms, 3)`` the gradient of U by the positions, of either sign.
        rule
            Tells how long the means remember.
        interval
            This evaluation stands for so many, of which the others are skipped.
        weights
            ``(n_atoms,)`` the weights of a region's atoms in the means: over all atoms a
            small region would get the bias of the whole structure. None for equal ones.
        """
        share = 1.0 / min(self.n // interval + 1, max(1, rule.memory // interval))
        norms = np.linalg.norm(gradient, axis=1)
        mean_force = float(np.average(np.linalg.norm(forces, axis=1), weights=weights))
        mean_norm = float(np.average(norms, weights=weights))
        fading = self.peak * (1.0 - min(1.0, interval / rule.memory))
        return replace(
            self,
            n=self.n + 1,
            force=self.force + share * (mean_force - self.force),
            gradient=self.gradient + share * (mean_norm - self.gradient),
            peak=max(float(norms.max()), fading),
        )

    def tau(self, rule: TauRule) -> float:
        """tau = tau_rel <|F|> / <|grad U|> within the limits of the rule, 0 during the delay.

        Where U has no gradient tau is ``tau_max``, or 0 without one: it does not matter.
        """
        if self.n < rule.delay or rule.tau_rel == 0:
            return 0.0
        if self.gradient <= 0.0:
            return rule.tau_max or 0.0
        tau = min(rule.tau_rel * self.force / self.gradient, rule.limit(self.peak))
        tau = tau if rule.tau_max is None else min(tau, rule.tau_max)
        return tau * min(
            1.0, max(0.0, 2.0 - 2.0 * self.excess_temperature / rule.max_excess_temperature)
        )


@dataclass(frozen=True)
class TauState:
    """The history of tau around the last evaluation of a calculator.

    Attributes
    ----------
    before
        What the evaluation began with: whoever repeats it begins there again.
    after
        What the next evaluation begins with. Before the first one both are the same.
    """

    before: TauHistory = TauHistory()
    after: TauHistory = TauHistory()

    @classmethod
    def at(cls, history: TauHistory) -> TauState:
        """The state in which an evaluation begins with this history."""
        return cls(history, history)

    def begun(self) -> TauState:
        """The state at the begin of the next evaluation."""
        return TauState.at(self.after)

    def emptied(self) -> TauState:
        """The same trajectory with new averages."""
        return TauState.at(self.after.emptied())

    def followed_by(self, after: TauHistory) -> TauState:
        """The same evaluation with another history after it."""
        return TauState(self.before, after)

    def with_excess_temperature(self, excess: float) -> TauState:
        """The state with the relative excess of the recent temperature over its target."""
        return self.followed_by(replace(self.after, excess_temperature=excess))


def checked_tau(tau: float) -> float:
    """A fixed tau; a ValueError where it is not finite."""
    if not np.isfinite(tau):
        raise ValueError(f"tau: must be finite, got {tau}")
    return float(tau)
