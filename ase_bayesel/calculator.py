"""The biased calculator: any MLIP with the uncertainty of a surrogate on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)

from .bias import TauHistory, TauRule
from .descriptors.base import Gradient, Pullback
from .surrogate import Surrogate, SurrogateCalculator, Uncertainty

SIGMA_FLOOR = 1e-6
"""eV; sigma = sqrt(phi^T Sigma phi + floor^2), so that its gradient exists everywhere."""


@dataclass(frozen=True)
class Prediction:
    """One evaluation of a `BiasedCalculator`, taken apart; eV and A.

    Attributes
    ----------
    energy, forces, stress
        Unbiased values of the MLIP: eV, ``(n_atoms, 3)`` eV/A, ``(6,)`` eV/A^3.
        The stress is None without three periodic directions or where the MLIP has none.
    bias_energy, bias_forces, bias_stress
        What the bias -tau sigma_E adds to them.
    energy_std
        sigma_E with its floor, eV.
    tau
        The strength used in this evaluation.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    bias_energy: float
    bias_forces: np.ndarray
    bias_stress: np.ndarray | None
    energy_std: float
    tau: float
    _uncertainty: Callable[[], Uncertainty]

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """Exact standard deviations; formed from the full Jacobian when first asked for."""
        return self._uncertainty()

    @property
    def force_std(self) -> np.ndarray:
        """``(n_atoms,)`` length of each atom's force deviation, eV/A."""
        return self.uncertainty.forces

    @property
    def stress_std(self) -> np.ndarray | None:
        """``(6,)`` eV/A^3, None without three periodic directions."""
        return self.uncertainty.stress


class BiasedCalculator(Calculator):
    """ASE calculator of E - tau sigma_E (HAL, van der Oord et al. 2022).

    Where ``mlip`` is the surrogate's own calculator one forward pass serves both.

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
        with its delay, cap and memory. Each evaluation at new positions adds to
        the running averages, and the next one uses them.

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
        self._surrogate = surrogate
        self._shares_features = _share_features(mlip, surrogate)
        self._prediction: Prediction | None = None

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate in use."""
        return self._surrogate

    @surrogate.setter
    def surrogate(self, surrogate: Surrogate) -> None:
        self._surrogate = surrogate
        self._shares_features = _share_features(self.mlip, surrogate)
        self.forget()

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

    def reset(self) -> None:
        """Forget all results."""
        super().reset()
        self._prediction = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Biased energy, forces and, where it exists, stress."""
        repeated = self._prediction if not system_changes else None
        tau = self.tau if repeated is None else repeated.tau
        super().calculate(atoms, properties, system_changes)
        atoms, surrogate = self.atoms, self._surrogate
        phi, pullback = surrogate.descriptor.linearize(atoms)
        energy, forces, stress = self._unbiased(phi, pullback, "stress" in properties)
        direction, variance = surrogate.posterior.covariance_times(phi)
        sigma = float(np.sqrt(variance + SIGMA_FLOOR**2))
        slope = pullback(direction / sigma)
        bias_stress = None if stress is None else -tau * slope.strain / atoms.get_volume()
        self._prediction = Prediction(
            energy=energy,
            forces=forces,
            stress=stress,
            bias_energy=-tau * sigma,
            bias_forces=tau * slope.positions,
            bias_stress=bias_stress,
            energy_std=sigma,
            tau=tau,
            _uncertainty=_deferred(surrogate, atoms.copy()),
        )
        if self.rule is not None and repeated is None:
            self._history = self._history.updated(forces, slope.positions, self.rule)
        biased = energy - tau * sigma
        self.results = {
            "energy": biased,
            "free_energy": biased,
            "forces": forces + self._prediction.bias_forces,
        }
        if stress is not None and bias_stress is not None:
            self.results["stress"] = stress + bias_stress

    def _unbiased(
        self, phi: np.ndarray, pullback: Pullback, want_stress: bool
    ) -> tuple[float, np.ndarray, np.ndarray | None]:
        atoms = self.atoms
        periodic = bool(atoms.pbc.all())
        if want_stress and not periodic:
            raise PropertyNotImplementedError("a stress needs three periodic directions")
        if self._shares_features:
            model = self.mlip.surrogate
            gradient: Gradient = pullback(model.posterior.mean)
            energy = model.baseline(atoms) + float(model.posterior.mean @ phi)
            stress = gradient.strain / atoms.get_volume() if periodic else None
            return energy, -gradient.positions, stress
        energy = self.mlip.get_potential_energy(atoms)
        forces = np.array(self.mlip.get_forces(atoms))
        stress = None
        if periodic and (want_stress or "stress" in self.mlip.results):
            stress = np.array(self.mlip.get_stress(atoms))
        return float(energy), forces, stress


def _share_features(mlip: Calculator, surrogate: Surrogate) -> bool:
    """Whether the MLIP is a surrogate's mean on the very features of ``surrogate``."""
    if not isinstance(mlip, SurrogateCalculator):
        return False
    theirs, ours = mlip.surrogate.descriptor, surrogate.descriptor
    return theirs is ours or theirs.spec() == ours.spec()


def _deferred(surrogate: Surrogate, atoms: Atoms) -> Callable[[], Uncertainty]:
    return lambda: surrogate.uncertainty(atoms)


def _checked_tau(tau: float) -> float:
    if not np.isfinite(tau):
        raise ValueError(f"tau: must be finite, got {tau}")
    return float(tau)
