"""The biased calculator: any MLIP with the uncertainty of a surrogate on top."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..descriptors.base import JointDescriptor
from ..surrogate.force_uncertainty import ForceSearch, LeadingForce
from ..surrogate.surrogate import Surrogate
from .evaluators import EVALUATION_ERRORS, Evaluation, choose_evaluator, weighed
from .kinds import SIGMA_FLOOR, Bias, BiasTerms, Deviation, atom_weights
from .prediction import Evaluated, JoinedPrediction, Judged, Prediction, _deferred
from .response import Parts, Response
from .tau import TauHistory, TauRule

__all__ = ["EVALUATION_ERRORS", "SIGMA_FLOOR", "BiasedCalculator", "Evaluated", "Prediction"]


class BiasedCalculator(Calculator):
    """ASE calculator of a biased energy: E - tau sigma_E (HAL), unless another bias is given.

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
        Fixed strength of the bias, in the unit of its kind. 0 for plain MD with
        uncertainties.
    tau_rel
        Instead of ``tau``: aimed ratio of bias to unbiased forces, or a `TauRule`
        with its delay, limits, memory and interval. Evaluations at new positions add
        to the running averages, and the next one uses them.
    separate
        Evaluate unbiased and bias forces separately every time, also where one
        backward pass would do for their sum.
    force_search
        How triggers find the largest force uncertainty where the features belong to a
        network, so that the full Jacobian is dear. None forms it all the same.
    bias
        `Deviation` or `Variance`, with a region of atoms and an energy limit. Triggers
        and ``prediction.energy_std`` look at the whole structure all the same. The row of
        a region comes from the same forward pass.

    ``history`` holds the running averages and the start's energy, from which the energy limit
    of a bias counts; ``history_before`` is what it was before the last evaluation.
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
        bias: Bias = Deviation(),
    ) -> None:
        super().__init__()
        if (tau is None) == (tau_rel is None):
            raise ValueError("give either tau or tau_rel")
        self.mlip = mlip
        if tau_rel is not None and not isinstance(tau_rel, TauRule):
            tau_rel = TauRule(float(tau_rel))
        self.rule = tau_rel
        self._fixed_tau = 0.0 if tau is None else _checked_tau(tau)
        self.history = self.history_before = TauHistory()
        self.separate = separate
        self.force_search = force_search
        self._bias = bias
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
        self.history = self.history.emptied()
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
        """Drop cached results, running averages and the start's energy: a new trajectory."""
        self.history = self.history_before = TauHistory()
        self.reset()

    def evaluated(self, atoms: Atoms) -> Evaluated | None:
        """The last evaluation as numbers; None where it is not that of ``atoms``."""
        found = self._prediction
        if found is None or self.check_state(atoms):
            return None
        forces, stress = found.biased_forces, self.results.get("stress")
        numbers = found.energy, found.energy_std, found.tau, found.terms
        return Evaluated(*numbers, forces, stress, self.history_before, self.history)

    def restore(self, atoms: Atoms, known: Evaluated | None) -> None:
        """`forget`, but for the evaluation of ``atoms`` with this surrogate where it is known."""
        self.forget()
        if known is not None:
            self.atoms, self.history_before, self.history = atoms.copy(), known.before, known.after
            biased = Response(known.forces, known.stress)
            self._prediction = self._joined(known, biased)
            self._set_results(known.energy + known.terms.energy, biased)

    @property
    def bias(self) -> Bias:
        """The kind of bias, its region and its energy limit."""
        return self._bias

    @property
    def tau(self) -> float:
        """Strength of the bias that the next evaluation will use."""
        return self._fixed_tau if self.rule is None else self.history.tau(self.rule)

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

    def take_up(self, atoms: Atoms, before: TauHistory) -> None:
        """Go on from ``atoms`` as before their evaluation, which is repeated if not at hand."""
        if self._prediction is None or self.history_before != before or self.check_state(atoms):
            self.history = self.history_before = before
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
        if repeated is None:
            self.history_before = self.history
        tau = self.tau if repeated is None else repeated.tau
        self._evaluation = None  # frees the last pass before the next one is made
        super().calculate(atoms, properties, system_changes)
        weights = atom_weights(self._bias.region, self.atoms)
        found = self._evaluator.evaluate(self.atoms, "stress" in properties, weights)
        seen = weighed(found, self._bias, self._surrogate.posterior)
        if self.history.start_energy is None:
            self.history = replace(self.history, start_energy=found.energy)
        due = repeated is None and self._history_due
        parts = None
        if due or self.separate or not self._evaluator.joined:
            parts = found.parts(seen.slope)
            if due and self.rule is not None:
                peak = np.linalg.norm(parts.level.forces, axis=1).max()
                tau = min(tau, self.rule.limit(float(peak)))
        terms = self._terms(found.energy, seen.level, tau, len(self.atoms))
        if parts is not None:
            biased = parts.unbiased.plus(1.0, parts.bias(terms))
            self._prediction = self._separated(found.energy, seen.sigma, tau, terms, parts)
        else:
            biased = found.combined(1.0 + terms.of_energy, -terms.strength * seen.slope)
            self._evaluation = found
            known = Evaluated(found.energy, seen.sigma, tau, terms, *biased)
            self._prediction = self._joined(known, biased, found)
        if repeated is None:
            self._remember(parts if due else None, weights)
        self._set_results(found.energy + terms.energy, biased)

    def _terms(self, energy: float, level: float, tau: float, n_atoms: int) -> BiasTerms:
        start = self.history.start_energy
        return self._bias.terms(tau, level, 0.0 if start is None else energy - start, n_atoms)

    def _set_results(self, energy: float, biased: Response) -> None:
        self.results = {"energy": energy, "free_energy": energy, "forces": biased.forces}
        if biased.stress is not None:
            self.results["stress"] = biased.stress

    def energy_change(self, atoms: Atoms) -> float:
        """Biased energy of another configuration less that of the last evaluation, eV.

        Both at the tau of the last evaluation, from a forward pass. Results, `prediction`
        and the running averages of tau stay as they are.
        """
        found = self._evaluator.evaluate(atoms, False, atom_weights(self._bias.region, atoms))
        seen = weighed(found, self._bias, self._surrogate.posterior)
        terms = self._terms(found.energy, seen.level, self.prediction.tau, len(atoms))
        return float(found.energy + terms.energy - self.results["energy"])

    @property
    def _history_due(self) -> bool:
        """Whether the running averages of a rule need this evaluation's forces."""
        return self.rule is not None and self.history.due(self._interval(self.rule))

    def _interval(self, rule: TauRule) -> int:
        return rule.interval or self._evaluator.tau_interval

    def _remember(self, parts: Parts | None, weights: np.ndarray | None) -> None:
        """Count an evaluation, and let its forces into the running averages."""
        if self.rule is None:
            return
        if parts is None:
            self.history = self.history.skipped()
            return
        forces, gradient = parts.unbiased.forces, parts.level.forces
        self.history = self.history.updated(
            forces, gradient, self.rule, self._interval(self.rule), weights
        )

    def _separated(
        self, energy: float, sigma: float, tau: float, terms: BiasTerms, parts: Parts
    ) -> Prediction:
        bias, atoms = parts.bias(terms), self.atoms.copy()
        return Prediction(
            energy=energy,
            forces=parts.unbiased.forces,
            stress=parts.unbiased.stress,
            bias_energy=terms.energy,
            bias_forces=bias.forces,
            bias_stress=bias.stress,
            energy_std=sigma,
            tau=tau,
            _uncertainty=_deferred(self._surrogate, atoms),
            _sigma_forces=partial(self._sigma_forces(sigma, atoms), parts),
            _search=self._search(atoms),
            _judged=Judged(self._surrogate, atoms),
            terms=terms,
        )

    def _joined(
        self, known: Evaluated, biased: Response, found: Evaluation | None = None
    ) -> Prediction:
        """A prediction that uses this pass while it is the last one, and repeats it later."""
        evaluator, posterior, atoms = self._evaluator, self._surrogate.posterior, self.atoms.copy()
        alive = (lambda: None) if found is None else weakref.ref(found)
        bias, terms = self._bias, known.terms

        def take_apart() -> Parts:
            one = alive() or evaluator.evaluate(atoms, False, atom_weights(bias.region, atoms))
            level = one.of_features(weighed(one, bias, posterior).slope)
            unbiased = biased.plus(terms.strength, level).scaled(1.0 / (1.0 + terms.of_energy))
            return Parts(unbiased, level)

        return JoinedPrediction(
            known.energy,
            known.energy_std,
            known.tau,
            terms,
            biased,
            take_apart,
            self._sigma_forces(known.energy_std, atoms),
            _deferred(self._surrogate, atoms),
            self._search(atoms),
            Judged(self._surrogate, atoms),
        )

    def _sigma_forces(self, sigma: float, atoms: Atoms) -> Callable[[Parts], np.ndarray]:
        """Minus the gradient of sigma_E of the whole structure, from the parts or from a pass."""
        evaluator, posterior = self._evaluator, self._surrogate.posterior
        if self._bias.region is None:
            _, factor = self._bias.level(sigma**2 - SIGMA_FLOOR**2)
            return lambda parts: parts.level.forces / (factor * sigma)

        def from_a_pass(_: Parts) -> np.ndarray:
            one = evaluator.evaluate(atoms, False)
            return one.of_features(weighed(one, Deviation(), posterior).slope).forces

        return from_a_pass

    def _search(self, atoms: Atoms) -> Callable[[np.ndarray], LeadingForce] | None:
        descriptor, posterior = self._surrogate.descriptor, self._surrogate.posterior
        if self.force_search is None or not isinstance(descriptor, JointDescriptor):
            return None
        return partial(self.force_search, descriptor, posterior, atoms)


def _checked_tau(tau: float) -> float:
    if not np.isfinite(tau):
        raise ValueError(f"tau: must be finite, got {tau}")
    return float(tau)
