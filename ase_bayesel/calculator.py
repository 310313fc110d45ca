"""The biased calculator: any MLIP with the uncertainty of a surrogate on top."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from .bias import TauHistory, TauRule
from .descriptors.base import JointDescriptor
from .evaluation import Evaluation, choose_evaluator
from .force_uncertainty import ForceSearch, LeadingForce
from .prediction import JoinedPrediction, Judged, Parts, Prediction, Response
from .surrogate import Surrogate, Uncertainty

__all__ = ["SIGMA_FLOOR", "BiasedCalculator", "Prediction"]

SIGMA_FLOOR = 1e-6
"""eV; sigma = sqrt(phi^T Sigma phi + floor^2), so that its gradient exists everywhere."""


class BiasedCalculator(Calculator):
    """ASE calculator of E - tau sigma_E (HAL, van der Oord et al. 2022).

    Where the features belong to ``mlip`` itself (the surrogate's own calculator, or
    a MACECalculator and a `MACEDescriptor` on the same model) one forward pass
    serves both, and one backward pass gives the biased forces and stress. Unbiased
    and bias forces are then evaluated on their own only where they are needed: by
    ``separate``, for the running averages of ``tau_rel``, or when
    ``prediction.forces`` and its like are asked for.

    Parameters
    ----------
    mlip
        Any ASE calculator that gives energy and forces.
    surrogate
        Gives sigma_E and its gradient.
    tau
        Fixed strength of the bias (no unit). 0 for plain MD with uncertainties.
    tau_rel
        Instead of ``tau``: aimed ratio of bias to unbiased forces, or a `TauRule`
        with its delay, cap, memory and interval. Evaluations at new positions add
        to the running averages, and the next one uses them.
    separate
        Evaluate unbiased and bias forces separately every time, also where one
        backward pass would do for their sum.

    force_search
        How triggers find the largest force uncertainty where the features belong to a
        network, so that the full Jacobian is dear. None forms it all the same.

    ``prediction`` holds everything beyond ASE's own results. Setting `surrogate`
    or `tau` discards cached results; a new surrogate also clears the history of
    `tau_rel`.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        mlip: Calculator,
        surrogate: Surrogate,
        tau: float | None = None,
        tau_rel: float | TauRule | None = None,
        separate: bool = False,
        force_search: ForceSearch | None = ForceSearch(),
    ) -> None:
        super().__init__()
        if (tau is None) == (tau_rel is None):
            raise ValueError("give either tau or tau_rel")
        self.mlip = mlip
        if tau_rel is not None and not isinstance(tau_rel, TauRule):
            tau_rel = TauRule(float(tau_rel))
        self.rule = tau_rel
        self._fixed_tau = 0.0 if tau is None else _checked_tau(tau)
        self._history = TauHistory()
        self.separate = separate
        self.force_search = force_search
        self._surrogate = surrogate
        self._evaluator = choose_evaluator(mlip, surrogate.descriptor)
        self._evaluation: Evaluation | None = None
        self._prediction: Prediction | None = None

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate in use."""
        return self._surrogate

    @surrogate.setter
    def surrogate(self, surrogate: Surrogate) -> None:
        self._history = TauHistory()
        self.adopt(surrogate)

    def adopt(self, surrogate: Surrogate) -> None:
        """Go on with another surrogate: results are discarded, the running averages are kept.

        For a trajectory that continues after a pick has made its uncertainties smaller.
        """
        if surrogate.descriptor is not self._surrogate.descriptor:
            self._evaluator = choose_evaluator(self.mlip, surrogate.descriptor)
        self._surrogate = surrogate
        self.reset()

    def forget(self) -> None:
        """Drop cached results and the running averages: a new trajectory begins."""
        self._history = TauHistory()
        self.reset()

    @property
    def tau(self) -> float:
        """Strength of the bias that the next evaluation will use."""
        return self._fixed_tau if self.rule is None else self._history.tau(self.rule)

    @tau.setter
    def tau(self, value: float) -> None:
        """Fix tau; a rule from ``tau_rel`` is dropped."""
        self._fixed_tau = _checked_tau(value)
        self.rule = None
        self.reset()

    @property
    def tau_rel(self) -> float | None:
        """What the rule aims at; None if tau is fixed."""
        return None if self.rule is None else self.rule.tau_rel

    @tau_rel.setter
    def tau_rel(self, value: float) -> None:
        """Aim at another value from the next evaluation on; the running averages are kept."""
        if self.rule is None:
            raise ValueError("tau_rel: this calculator has a fixed tau; give it a tau_rel instead")
        self.rule = replace(self.rule, tau_rel=value)

    @property
    def history(self) -> TauHistory:
        """The running averages.

        Set them to those from before an evaluation to repeat it: results are discarded.
        """
        return self._history

    @history.setter
    def history(self, history: TauHistory) -> None:
        self._history = history
        self.reset()

    @property
    def prediction(self) -> Prediction:
        """The last evaluation, taken apart.

        Raises
        ------
        RuntimeError
            Before the first evaluation, or after the surrogate or tau was changed.
        """
        if self._prediction is None:
            raise RuntimeError("no evaluation yet: ask for an energy or forces first")
        return self._prediction

    @property
    def gathers(self) -> bool:
        """Whether evaluations of several such calculators can share one pass."""
        return self._evaluator.gathers

    def release(self) -> None:
        """Free the memory of the last pass; results stay, and `prediction` repeats it on demand."""
        self._evaluation = None

    def reset(self) -> None:
        """Forget all results."""
        super().reset()
        self._evaluation = None
        self._prediction = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Biased energy, forces and, where it exists, stress."""
        repeated = self._prediction if not system_changes else None
        tau = self.tau if repeated is None else repeated.tau
        self._evaluation = None  # frees the last pass before the next one is made
        super().calculate(atoms, properties, system_changes)
        surrogate = self._surrogate
        found = self._evaluator.evaluate(self.atoms, "stress" in properties)
        direction, variance = surrogate.posterior.covariance_times(found.phi)
        sigma = float(np.sqrt(variance + SIGMA_FLOOR**2))
        slope = direction / sigma
        due = repeated is None and self._history_due
        if due or self.separate or not self._evaluator.joined:
            parts = found.parts(slope)
            biased = parts.unbiased.plus(-tau, parts.sigma)
            self._prediction = self._separated(found.energy, sigma, tau, parts)
        else:
            parts = None
            biased = found.combined(-tau * slope)
            self._evaluation = found
            self._prediction = self._joined(found, sigma, tau, biased, slope)
        if repeated is None:
            self._remember(parts if due else None)
        energy = found.energy - tau * sigma
        self.results = {"energy": energy, "free_energy": energy, "forces": biased.forces}
        if biased.stress is not None:
            self.results["stress"] = biased.stress

    @property
    def _history_due(self) -> bool:
        """Whether the running averages of a rule need this evaluation's forces."""
        return self.rule is not None and self._history.due(self._interval(self.rule))

    def _interval(self, rule: TauRule) -> int:
        return rule.interval or self._evaluator.tau_interval

    def _remember(self, parts: Parts | None) -> None:
        """Count an evaluation, and let its forces into the running averages."""
        if self.rule is None:
            return
        if parts is None:
            self._history = self._history.skipped()
            return
        self._history = self._history.updated(
            parts.unbiased.forces, parts.sigma.forces, self.rule, self._interval(self.rule)
        )

    def _separated(self, energy: float, sigma: float, tau: float, parts: Parts) -> Prediction:
        bias, atoms = parts.sigma.scaled(-tau), self.atoms.copy()
        return Prediction(
            energy=energy,
            forces=parts.unbiased.forces,
            stress=parts.unbiased.stress,
            bias_energy=-tau * sigma,
            bias_forces=bias.forces,
            bias_stress=None if parts.unbiased.stress is None else bias.stress,
            energy_std=sigma,
            tau=tau,
            _uncertainty=_deferred(self._surrogate, atoms),
            _sigma_forces=parts.sigma.forces,
            _search=self._search(atoms),
            _judged=Judged(self._surrogate, atoms),
        )

    def _joined(
        self, found: Evaluation, sigma: float, tau: float, biased: Response, slope: np.ndarray
    ) -> Prediction:
        """A prediction that uses this pass while it is the last one, and repeats it later."""
        evaluator, atoms, alive = self._evaluator, self.atoms.copy(), weakref.ref(found)

        def take_apart() -> Parts:
            one = alive()
            if one is None:
                one = evaluator.evaluate(atoms, False)
            of_sigma = one.of_features(slope)
            return Parts(biased.plus(tau, of_sigma), of_sigma)

        return JoinedPrediction(
            found.energy,
            sigma,
            tau,
            biased,
            take_apart,
            _deferred(self._surrogate, atoms),
            self._search(atoms),
            Judged(self._surrogate, atoms),
        )

    def _search(self, atoms: Atoms) -> Callable[[np.ndarray], LeadingForce] | None:
        descriptor, posterior = self._surrogate.descriptor, self._surrogate.posterior
        if self.force_search is None or not isinstance(descriptor, JointDescriptor):
            return None
        return partial(self.force_search, descriptor, posterior, atoms)


def _deferred(surrogate: Surrogate, atoms: Atoms) -> Callable[[], Uncertainty]:
    return lambda: surrogate.uncertainty(atoms)


def _checked_tau(tau: float) -> float:
    if not np.isfinite(tau):
        raise ValueError(f"tau: must be finite, got {tau}")
    return float(tau)
