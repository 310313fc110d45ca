"""What one biased evaluation found, as one value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..descriptors.base import Features, JointDescriptor, is_joint
from ..errors import GenerationError
from ..surrogate.force_uncertainty import ForceSearch, LeadingForce, leading_force
from ..surrogate.surrogate import Surrogate, Uncertainty
from .evaluators import Evaluation, Evaluator, FeatureRow, bias_inputs
from .kinds import NO_BIAS, SIGMA_FLOOR, Bias, BiasTerms, Deviation, atom_weights
from .once import once
from .response import Parts, Response
from .tau import TauState


@dataclass(frozen=True)
class Evaluated:
    """Numbers of one evaluation, with which a calculator can go on elsewhere.

    ``energy`` is unbiased, ``energy_std`` sigma_E with its floor, eV; ``tau`` the strength used;
    ``forces (n_atoms, 3)`` eV/A and ``stress (6,)`` eV/A^3 or None those of the biased surface;
    ``tau_state`` the history of tau before and after.
    """

    energy: float
    energy_std: float
    tau: float
    terms: BiasTerms
    forces: np.ndarray
    stress: np.ndarray | None = None
    tau_state: TauState = TauState()


class Prediction:
    """One evaluation of a biased energy surface, taken apart; eV and A.

    What the evaluation gave is at hand: energies, the biased forces and stress. The rest is
    formed when first asked for, and kept. Unbiased and bias forces then cost one backward
    pass, as long as the prediction holds its forward pass, and a forward pass before it once
    that has been released, as the calculator does before it makes the next one.

    Parameters
    ----------
    atoms
        The structure, which nobody changes any more.
    energy
        Unbiased energy of the MLIP, eV.
    biased
        Forces and stress on the biased surface.
    energy_std
        sigma_E of the whole structure with its floor, eV, whatever the bias looks at.
    tau
        The strength used in this evaluation.
    terms
        What the gradient of the biased energy is made of.
    parts
        The MLIP's own forces and stress, and those of U; None where they were not evaluated.
    evaluation
        The forward pass, which serves for the parts; None where it is spent or gone.
    row
        The feature row of the whole structure, where it is known.
    evaluator
        Repeats the pass; needed where there are no parts.
    surrogate
        Tells the uncertainties; None where there is none, as of a plain calculator.
    bias
        The kind of bias in the evaluation.
    force_search
        How `leading_force` finds its atom where the features belong to a network; None to
        form all exact deviations.
    """

    def __init__(
        self,
        atoms: Atoms,
        energy: float,
        biased: Response,
        *,
        energy_std: float = 0.0,
        tau: float = 0.0,
        terms: BiasTerms = NO_BIAS,
        parts: Parts | None = None,
        evaluation: Evaluation | None = None,
        row: FeatureRow | None = None,
        evaluator: Evaluator | None = None,
        surrogate: Surrogate | None = None,
        bias: Bias = Deviation(),
        force_search: ForceSearch | None = None,
    ) -> None:
        self.atoms = atoms
        self.energy = energy
        self.energy_std = energy_std
        self.tau = tau
        self.terms = terms
        self._biased = biased
        self._known_parts = parts
        self._evaluation, self._row = evaluation, row
        self._evaluator = evaluator
        self._surrogate = surrogate
        self._bias = bias
        self._force_search = force_search
        self._known_unbiased: Response | None = None
        self._known_features: Features | None = None
        self._known_uncertainty: Uncertainty | None = None
        self._known_force_std: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Prediction(energy={self.energy}, energy_std={self.energy_std}, tau={self.tau})"

    def release(self) -> None:
        """Let go of the forward pass, which may hold much memory; all that is known stays."""
        self._evaluation = self._known_features = None
        self._row = self._row and FeatureRow(self._row.phi)

    def under(self, surrogate: Surrogate) -> Prediction:
        """The same evaluation without its bias, with the uncertainties of another surrogate.

        What the potential gave is shared, and so are the features where they are at hand.

        Parameters
        ----------
        surrogate
            With the same descriptor; that of the last fit, say, where this one knows the picks
            since then.
        """
        unbiased = self._unbiased
        row = self._row
        other = Prediction(
            self.atoms,
            self.energy,
            unbiased,
            energy_std=float(
                np.hypot(surrogate.energy_std(self.atoms, row and row.phi), SIGMA_FLOOR)
            ),
            evaluation=self._evaluation if self._bias.region is None else None,
            row=row,
            evaluator=self._evaluator,
            surrogate=surrogate,
            force_search=self._force_search,
        )
        other._known_unbiased, other._known_features = unbiased, self._known_features
        return other

    # energies, forces and stress

    @property
    def bias_energy(self) -> float:
        """What the bias adds to the energy, eV."""
        return self.terms.energy

    @property
    def biased_forces(self) -> np.ndarray:
        """Forces on the biased surface, ``(n_atoms, 3)`` eV/A; always at hand."""
        return self._biased.forces

    @property
    def separated(self) -> bool:
        """Whether unbiased and bias forces are at hand without a further pass."""
        return self._known_parts is not None

    @property
    def forces(self) -> np.ndarray:
        """Unbiased forces of the MLIP, ``(n_atoms, 3)`` eV/A; a pass unless `separated`."""
        return self._unbiased.forces

    @property
    def stress(self) -> np.ndarray | None:
        """Unbiased stress of the MLIP, ``(6,)`` eV/A^3; a pass unless `separated`.

        None without three periodic directions or where the MLIP has none.
        """
        return self._unbiased.stress

    @property
    def bias_forces(self) -> np.ndarray:
        """What the bias adds to the forces, ``(n_atoms, 3)`` eV/A; a pass unless `separated`."""
        return self._of_bias.forces

    @property
    def bias_stress(self) -> np.ndarray | None:
        """What the bias adds to the stress, ``(6,)`` eV/A^3 or None; a pass unless `separated`."""
        return self._of_bias.stress

    @property
    def _unbiased(self) -> Response:
        return self._parts.unbiased if self._known_unbiased is None else self._known_unbiased

    @once
    def _of_bias(self) -> Response:
        return self._parts.bias(self.terms)

    @property
    def _parts(self) -> Parts:
        if self._known_parts is None:
            self._known_parts = self._taken_apart()
        return self._known_parts

    def _taken_apart(self) -> Parts:
        """The response of U by a backward pass, and with it the MLIP's own.

        It is known only together: grad E_b = (1 + dE_bias/dE) grad E - strength grad U.
        """
        evaluation = self._evaluation
        if evaluation is None:
            evaluation = self._passed_again(atom_weights(self._bias.region, self.atoms))
        inputs = bias_inputs(evaluation, self._bias, self.surrogate.posterior)
        of_U = evaluation.of_features(inputs.dU_dphi)
        both = self._biased.plus(self.terms.strength, of_U)
        return Parts(both.scaled(1.0 / (1.0 + self.terms.dE_bias_dE)), of_U)

    def _passed_again(self, weights: np.ndarray | None) -> Evaluation:
        """Another forward pass."""
        assert self._evaluator is not None, "a prediction that cannot be evaluated has its parts"
        return self._evaluator.evaluate(self.atoms, False, weights)

    # uncertainties

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate that tells the uncertainties.

        Raises
        ------
        GenerationError
            If there is none; so does all that follows.
        """
        if self._surrogate is None:
            raise GenerationError("there is no uncertainty without a surrogate")
        return self._surrogate

    @property
    def uncertainty(self) -> Uncertainty:
        """Exact standard deviations; formed from the full Jacobian when first asked for."""
        if self._known_uncertainty is None:
            self._known_uncertainty = self.surrogate.uncertainty(self.atoms, self._features)
            self._known_force_std = self._known_uncertainty.forces
        return self._known_uncertainty

    @property
    def _features(self) -> Features:
        """Features with derivatives, of the forward pass where it serves for them."""
        if self._known_features is None:
            form = None if self._row is None else self._row.features
            self._known_features = self.surrogate.features(self.atoms) if form is None else form()
        return self._known_features

    @property
    def force_std(self) -> np.ndarray:
        """``(n_atoms,)`` length of each atom's force deviation, eV/A; of the full Jacobian."""
        if self._known_force_std is None:
            self._known_force_std = self.surrogate.force_std(self._features)
        return self._known_force_std

    @property
    def known_force_std(self) -> np.ndarray | None:
        """`force_std` if somebody has asked for the exact deviations already, else None."""
        return self._known_force_std

    @property
    def searched(self) -> bool:
        """Whether `leading_force` has to search, for want of exact deviations."""
        return self._known_force_std is None and self._search is not None

    @once
    def _search(self) -> tuple[ForceSearch, JointDescriptor] | None:
        """How to search, where it pays: the features belong to a network."""
        if self._force_search is None or self._surrogate is None:
            return None
        descriptor = self._surrogate.descriptor
        return (self._force_search, descriptor) if is_joint(descriptor) else None

    def leading_force(self, scales: np.ndarray) -> LeadingForce:
        """The atom with the largest ``force_std / scales``, and its exact force deviation.

        Where the calculator has a `ForceSearch` and `uncertainty` is not known yet, it
        may miss an atom whose ratio is somewhat larger, and costs the passes of the search
        each time; otherwise it takes the full Jacobian, once.
        """
        if self._known_force_std is None and self._search is not None:
            search, descriptor = self._search
            return search(descriptor, self.surrogate.posterior, self.atoms, scales)
        return leading_force(self.force_std, scales)

    @once
    def force_std_bound(self) -> np.ndarray:
        """|grad_i sigma_E| ``(n_atoms,)``, eV/A: never above `force_std` (Cauchy-Schwarz).

        Of the whole structure. A pass unless `separated`; where the bias looks at a region
        one more.
        """
        return np.linalg.norm(self._of_sigma(), axis=1)

    def _of_sigma(self) -> np.ndarray:
        """Minus the gradient of sigma_E of the whole structure, from the parts or a pass."""
        posterior, of_U = self.surrogate.posterior, self._parts.of_U
        if self._bias.region is None:
            _, factor = self._bias.U_of_variance(self.energy_std**2 - SIGMA_FLOOR**2)
            return of_U.forces / (factor * self.energy_std)
        evaluation = self._passed_again(None)
        dsigma_dphi = bias_inputs(evaluation, Deviation(), posterior).dU_dphi
        return evaluation.of_features(dsigma_dphi).forces

    @once
    def stress_std(self) -> np.ndarray | None:
        """``(6,)`` eV/A^3, None without three periodic directions; exact.

        Costs no full Jacobian where `leading_force` has to search, but passes of its own.
        """
        return self.surrogate.stress_std(self.atoms, None if self.searched else self._features)

    @once
    def local_energy_std(self) -> np.ndarray:
        """``(n_atoms,)`` deviation sqrt(b_i^T Sigma b_i) of each atom's energy, eV.

        Costs a forward pass.
        """
        return self.surrogate.local_energy_std(self.atoms, self.atomic_features)

    @once
    def extrapolated(self) -> np.ndarray:
        """``(n_atoms,)`` eV, for what of each energy is extrapolated (`Support.extrapolated`).

        Costs a forward pass, the same as `local_energy_std`.
        """
        return self.surrogate.extrapolated(self.atoms, self.atomic_features)

    @once
    def atomic_features(self) -> np.ndarray:
        """``(n_atoms, D)`` features b_i; costs a forward pass."""
        return self.surrogate.descriptor.compute([self.atoms])[0].values

    @once
    def information_gain(self) -> float:
        """What a label of this structure would add to log det Sigma^-1 (Eq. 4), no unit.

        Costs the full Jacobian.
        """
        return self.surrogate.information_gain(self.atoms, self.energy)
