"""The biased calculator: any MLIP with the uncertainty of a surrogate on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ..structures.calculators import LeanCalculator
from ..surrogate.force_uncertainty import ForceSearch
from ..surrogate.surrogate import Surrogate
from .arguments import check_arguments
from .evaluators import Evaluation, FeatureRow, bias_inputs, choose_evaluator
from .kinds import Bias, BiasTerms, Deviation, atom_weights
from .prediction import Evaluated, Prediction
from .response import Parts, Response
from .tau import TauHistory, TauRule, TauState, checked_tau


class BiasedCalculator(LeanCalculator):
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
        Fixed strength of the bias, in the unit of its kind. With neither ``tau`` nor
        ``tau_rel`` it is 0: the calculator's own surface, with uncertainties.
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
        a region comes from the same forward pass. None for `Deviation` of all atoms.

    Notes
    -----
    ``prediction`` holds everything beyond ASE's own results. ``tau_state`` is all that the bias
    remembers of a trajectory: the averages of tau, and the start's energy, from which an
    energy limit counts, with the recent excess temperature. Three methods forget:

    ============================ ========== ========= ============
    call                         results    averages  start energy
    ============================ ========== ========= ============
    ``reset()``, ``tau = x``     dropped    kept      kept
    ``set_surrogate(s)``         dropped    emptied   kept
    ``set_surrogate(s, True)``   dropped    kept      kept
    ``restore()``                dropped    emptied   dropped
    ``restore(a, history)``      dropped *  of it     of it
    ``restore(a, evaluated)``    of it      of it     of it
    ============================ ========== ========= ============

    (* unless they are of these atoms and began with this history: then all is kept.) Where
    results are dropped the memory of the last pass is freed, as it is before the next pass;
    ``prediction.release()`` frees it and drops nothing. ``surrogate = s`` is the second row.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]
    _prediction: Prediction | None = None

    def __init__(
        self,
        mlip: Calculator,
        surrogate: Surrogate,
        tau: float | None = None,
        tau_rel: float | TauRule | None = None,
        separate: bool = False,
        force_search: ForceSearch | None = ForceSearch(),
        bias: Bias | None = None,
    ) -> None:
        super().__init__()
        check_arguments(mlip, surrogate, tau, tau_rel, bias)
        self.mlip = mlip
        if tau_rel is not None and not isinstance(tau_rel, TauRule):
            tau_rel = TauRule(float(tau_rel))
        self.rule = tau_rel
        self._fixed_tau = 0.0 if tau is None else checked_tau(tau)
        self.separate = separate
        self.force_search = force_search
        self.tau_state = TauState()
        self._bias = Deviation() if bias is None else bias
        self._surrogate = surrogate
        self._evaluator = choose_evaluator(mlip, surrogate.descriptor)

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate in use; setting it is `set_surrogate` with new averages."""
        return self._surrogate

    @surrogate.setter
    def surrogate(self, surrogate: Surrogate) -> None:
        self.set_surrogate(surrogate)

    def set_surrogate(self, surrogate: Surrogate, keep_averages: bool = False) -> None:
        """Go on with another surrogate; results are dropped.

        Parameters
        ----------
        surrogate
            The new one; its descriptor may be another.
        keep_averages
            Keep the running averages of tau too: for a trajectory that continues after a
            pick has made its uncertainties smaller.
        """
        if surrogate.descriptor is not self._surrogate.descriptor:
            self._evaluator = choose_evaluator(self.mlip, surrogate.descriptor)
        self._surrogate = surrogate
        if not keep_averages:
            self.tau_state = self.tau_state.emptied()
        self.reset()

    def restore(
        self, atoms: Atoms | None = None, known: Evaluated | TauHistory | None = None
    ) -> None:
        """Begin a trajectory, or go on with one that was left.

        Parameters
        ----------
        atoms
            The frame to go on from. None for one that is not evaluated yet.
        known
            None for a new trajectory. A `TauHistory` to go on from before the evaluation of
            the frame, which is repeated, unless it is the last one here and began with that
            history. An `Evaluated` of the frame, with this surrogate, to go on from after it.
        """
        if isinstance(known, TauHistory):
            if atoms is None or not self._evaluated_from(atoms, known):
                self.tau_state = TauState.at(known)
                self.reset()
            return
        self.tau_state = TauState()
        self.reset()
        if known is not None and atoms is not None:
            self.atoms, self.tau_state = atoms.copy(), known.tau_state
            response = Response(known.forces, known.stress)
            self._conclude(known.energy, known.energy_std, known.tau, known.terms, response)

    def _evaluated_from(self, atoms: Atoms, history: TauHistory) -> bool:
        """Whether the last evaluation is that of ``atoms`` and began with this history."""
        if self._prediction is None or self.tau_state.before != history:
            return False
        return not self.check_state(atoms)

    def evaluated(self, atoms: Atoms) -> Evaluated | None:
        """The last evaluation as numbers; None where it is not that of ``atoms``."""
        last = self._prediction
        if last is None or self.check_state(atoms):
            return None
        forces, stress = last.biased_forces, self.results.get("stress")
        known = last.energy, last.energy_std, last.tau, last.terms
        return Evaluated(*known, forces, stress, self.tau_state)

    @property
    def bias(self) -> Bias:
        """The kind of bias, its region and its energy limit."""
        return self._bias

    @property
    def tau(self) -> float:
        """Strength of the bias that the next evaluation will use."""
        return self._fixed_tau if self.rule is None else self.tau_state.after.tau(self.rule)

    @tau.setter
    def tau(self, value: float) -> None:
        """Fix tau; a rule from ``tau_rel`` is dropped."""
        self._fixed_tau = checked_tau(value)
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
    def last_prediction(self) -> Prediction | None:
        """`prediction`, or None where there is none."""
        return self._prediction

    @property
    def batchable(self) -> bool:
        """Whether evaluations of several such calculators can share one pass."""
        return self._evaluator.batchable

    def reset(self) -> None:
        """Drop all results and free the memory of the last pass, as ASE does at new positions."""
        super().reset()
        if self._prediction is not None:
            self._prediction.release()
        self._prediction = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Biased energy, forces and, where it exists, stress.

        Parameters
        ----------
        atoms
            The structure; None for that of the last evaluation.
        properties
            ASE's names of what is wanted.
        system_changes
            What differs from the last evaluation. Nothing where more properties of the same
            structure are asked for: tau stays, and the averages do not count it again.
        """
        repeated = None if system_changes else self._prediction
        if repeated is None:
            self.tau_state = self.tau_state.begun()
        tau = self.tau if repeated is None else repeated.tau
        if self._prediction is not None:
            self._prediction.release()  # frees the last pass before the next one is made
        self.keep(atoms)
        weights = atom_weights(self._bias.region, self.atoms)
        evaluation = self._evaluator.evaluate(self.atoms, "stress" in properties, weights)
        sigma, U, dU_dphi = bias_inputs(evaluation, self._bias, self._surrogate.posterior)
        history = self.tau_state.after
        if history.start_energy is None:
            history = replace(history, start_energy=evaluation.energy)
            self.tau_state = self.tau_state.followed_by(history)
        due = repeated is None and self.rule is not None and history.due(self._interval(self.rule))
        parts = None
        if due or self.separate or not self._evaluator.joined:
            parts = evaluation.parts(dU_dphi)
            if due and self.rule is not None:
                peak = np.linalg.norm(parts.of_U.forces, axis=1).max()
                tau = min(tau, self.rule.limit(float(peak)))
        terms = self._terms(evaluation.energy, U, tau, len(self.atoms))
        if parts is not None:
            biased, unspent = parts.unbiased.plus(1.0, parts.bias(terms)), None
        else:
            biased = evaluation.combined(1.0 + terms.dE_bias_dE, -terms.strength * dU_dphi)
            unspent = evaluation
        row, energy = evaluation.row, evaluation.energy
        self._conclude(energy, sigma, tau, terms, biased, row, parts, unspent)
        if repeated is None:
            self._remember(parts if due else None, weights)

    def _terms(self, energy: float, U: float, tau: float, n_atoms: int) -> BiasTerms:
        start = self.tau_state.after.start_energy
        return self._bias.terms(tau, U, 0.0 if start is None else energy - start, n_atoms)

    def _conclude(
        self,
        energy: float,
        energy_std: float,
        tau: float,
        terms: BiasTerms,
        biased: Response,
        row: FeatureRow | None = None,
        parts: Parts | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        """Set ASE's results and the prediction of ``self.atoms``."""
        self._prediction = Prediction(
            self.atoms,
            energy,
            biased,
            energy_std=energy_std,
            tau=tau,
            terms=terms,
            parts=parts,
            evaluation=evaluation,
            row=row,
            evaluator=self._evaluator,
            surrogate=self._surrogate,
            bias=self._bias,
            force_search=self.force_search,
        )
        total = energy + terms.energy
        self.results = {"energy": total, "free_energy": total, "forces": biased.forces}
        if biased.stress is not None:
            self.results["stress"] = biased.stress

    def energy_change(self, atoms: Atoms) -> float:
        """Biased energy of another configuration less that of the last evaluation, eV.

        Both at the tau of the last evaluation, from a forward pass. Results, `prediction`
        and the running averages of tau stay as they are.
        """
        trial = self._evaluator.evaluate(atoms, False, atom_weights(self._bias.region, atoms))
        inputs = bias_inputs(trial, self._bias, self._surrogate.posterior)
        terms = self._terms(trial.energy, inputs.U, self.prediction.tau, len(atoms))
        return float(trial.energy + terms.energy - self.results["energy"])

    def _interval(self, rule: TauRule) -> int:
        return rule.interval or self._evaluator.tau_interval

    def _remember(self, parts: Parts | None, weights: np.ndarray | None) -> None:
        """Count an evaluation, and let its forces into the running averages."""
        if self.rule is None:
            return
        history = self.tau_state.after
        if parts is None:
            history = history.skipped()
        else:
            forces, gradient = parts.unbiased.forces, parts.of_U.forces
            interval = self._interval(self.rule)
            history = history.updated(forces, gradient, self.rule, interval, weights)
        self.tau_state = self.tau_state.followed_by(history)
