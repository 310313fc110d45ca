"""Three ways to get an MLIP's energy and a descriptor's features of one structure.

An `Evaluator` knows which passes through which model serve both. It is chosen
once, from the MLIP and the descriptor (`choose_evaluator`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorError,
    PropertyNotImplementedError,
)

from ..descriptors.base import (
    Descriptor,
    EnergyAndFeatures,
    Features,
    Gradient,
    JointDescriptor,
    LinearizedFeatures,
)
from ..errors import BayeselError
from ..structures.calculators import volume
from ..structures.energy_shift import EnergyShift, ShiftedCalculator
from ..structures.mlip import mlip_results
from ..surrogate.mean import SurrogateCalculator
from ..surrogate.posterior import Posterior
from ..surrogate.surrogate import Surrogate
from . import batching
from .kinds import SIGMA_FLOOR, Bias
from .response import Parts, Response

EVALUATION_ERRORS = (
    BayeselError,
    CalculatorError,
    ArithmeticError,
    ValueError,
    RuntimeError,
    np.linalg.LinAlgError,
)
"""What a calculator may raise on a configuration that has lost all sense."""


class FeatureRow(NamedTuple):
    """The row ``phi (D,)`` of a whole structure, and its features with all derivatives.

    ``features`` forms these from the forward pass of the descriptor, whose memory it holds; None
    where that is no cheaper than from the beginning.
    """

    phi: np.ndarray
    features: Callable[[], Features] | None = None


class Evaluation(Protocol):
    """Forward pass over one structure, ready to be differentiated; may hold much memory.

    ``energy`` is the MLIP's, eV; ``phi (D,)`` the feature row, and ``region (D,)`` the
    weighted sum over the atoms that was asked for, or phi itself.
    ``row`` is what lasts longer than the pass.
    """

    energy: float
    phi: np.ndarray
    region: np.ndarray
    row: FeatureRow

    def parts(self, cotangent: np.ndarray) -> Parts:
        """Response of the MLIP, and of the energy ``cotangent . region``; it is then spent."""
        ...

    def of_features(self, cotangent: np.ndarray) -> Response:
        """Forces and stress of the energy ``cotangent . region``."""
        ...

    def combined(self, energy_weight: float, cotangent: np.ndarray) -> Response:
        """Forces and stress of ``energy_weight`` times the MLIP's energy + cotangent . region."""
        ...


class BiasInputs(NamedTuple):
    """What a posterior makes of an evaluation.

    ``sigma`` is sigma_E of the whole structure with its floor, eV; ``U`` the function that the
    bias follows, and ``dU_dphi (D,)`` its derivative by the row of the region.
    """

    sigma: float
    U: float
    dU_dphi: np.ndarray


def bias_inputs(evaluation: Evaluation, bias: Bias, posterior: Posterior) -> BiasInputs:
    """sigma_E of a structure, and U with its derivative by the features."""
    direction, variance = posterior.covariance_times(evaluation.phi)
    sigma = float(np.sqrt(variance + SIGMA_FLOOR**2))
    if evaluation.region is not evaluation.phi:
        direction, variance = posterior.covariance_times(evaluation.region)
    U, factor = bias.U_of_variance(variance)
    return BiasInputs(sigma, U, factor * direction)


class Evaluator(Protocol):
    """A way to evaluate structures."""

    @property
    def joined(self) -> bool:
        """Whether `Evaluation.combined` is cheaper than its two parts."""
        ...

    @property
    def tau_interval(self) -> int:
        """Every how many evaluations the parts are worth their price for tau alone (`TauRule`)."""
        ...

    @property
    def batchable(self) -> bool:
        """Whether passes of several walkers can become one (`batching`)."""
        ...

    def evaluate(
        self, atoms: Atoms, want_stress: bool, weights: np.ndarray | None = None
    ) -> Evaluation:
        """One forward pass; ``weights (n_atoms,)`` are those of the region.

        Raises
        ------
        PropertyNotImplementedError
            If a stress is wanted without three periodic directions.
        """
        ...


def choose_evaluator(mlip: Calculator, descriptor: Descriptor) -> Evaluator:
    """The cheapest evaluator for this pair.

    One pass serves both where the MLIP is a surrogate's mean on the very same
    features, or where the descriptor is taken from the MLIP's own network.
    """
    if isinstance(mlip, ShiftedCalculator):
        inner = choose_evaluator(mlip.inner, descriptor)
        return ShiftedEvaluator(
            inner, mlip.shift, inner.joined, inner.tau_interval, inner.batchable
        )
    if isinstance(mlip, SurrogateCalculator):
        theirs = mlip.surrogate.descriptor
        if theirs is descriptor or theirs.spec() == descriptor.spec():
            return LinearEvaluator(mlip, descriptor)
    if isinstance(descriptor, JointDescriptor) and descriptor.serves(mlip):
        return NetworkEvaluator(descriptor)
    return SeparateEvaluator(mlip, descriptor)


@dataclass(frozen=True)
class LinearEvaluator:
    """The MLIP is a surrogate's mean: a backward pass is linear in the cotangent."""

    mlip: SurrogateCalculator
    descriptor: Descriptor
    joined: bool = True
    tau_interval: int = 1
    batchable: bool = False

    def evaluate(
        self, atoms: Atoms, want_stress: bool, weights: np.ndarray | None = None
    ) -> Evaluation:
        """One forward pass of the descriptor."""
        volume = _volume(atoms, want_stress)
        rows = _Rows(self.descriptor, atoms, weights)
        return _JointEvaluation(_LinearPass(self.mlip.surrogate, atoms, rows), volume)


@dataclass(frozen=True)
class NetworkEvaluator:
    """The descriptor is part of the MLIP's network, which alone is run."""

    descriptor: JointDescriptor
    joined: bool = True
    tau_interval: int = 10
    batchable: bool = True

    def evaluate(
        self, atoms: Atoms, want_stress: bool, weights: np.ndarray | None = None
    ) -> Evaluation:
        """One forward pass of the network, shared where calls are batched."""
        volume = _volume(atoms, want_stress)
        shared = batching.forward(self.descriptor, atoms)
        return _JointEvaluation(_NetworkPass(shared, weights), volume)


@dataclass(frozen=True)
class SeparateEvaluator:
    """Any MLIP beside any descriptor: both are run in full."""

    mlip: Calculator
    descriptor: Descriptor
    joined: bool = False
    tau_interval: int = 1
    batchable: bool = False

    def evaluate(
        self, atoms: Atoms, want_stress: bool, weights: np.ndarray | None = None
    ) -> Evaluation:
        """Energy, forces and, where wanted or already there, stress; and the features."""
        volume = _volume(atoms, want_stress)
        rows = _Rows(self.descriptor, atoms, weights)
        energy, forces, stress = mlip_results(self.mlip, atoms, want_stress)
        return _SeparateEvaluation(energy, Response(forces, stress), rows, volume)


@dataclass(frozen=True)
class ShiftedEvaluator:
    """Another way, with shifted energies: passes are shared as if there were no shift."""

    inner: Evaluator
    shift: EnergyShift
    joined: bool
    tau_interval: int
    batchable: bool

    def evaluate(
        self, atoms: Atoms, want_stress: bool, weights: np.ndarray | None = None
    ) -> Evaluation:
        """That of the other; a constant has no derivatives."""
        evaluation = self.inner.evaluate(atoms, want_stress, weights)
        evaluation.energy += self.shift.of(atoms)
        return evaluation


def _volume(atoms: Atoms, want_stress: bool) -> float | None:
    """Volume in A^3, None without three periodic directions."""
    if atoms.pbc.all():
        return volume(atoms)
    if want_stress:
        raise PropertyNotImplementedError("a stress needs three periodic directions")
    return None


def _response(gradient: Gradient, volume: float | None) -> Response:
    stress = None if volume is None else gradient.strain / volume
    return Response(-gradient.positions, stress)


class _Rows:
    """The feature row of a structure and that of its region, from one forward pass."""

    def __init__(self, descriptor: Descriptor, atoms: Atoms, weights: np.ndarray | None) -> None:
        self._alone = weights is None
        if weights is None:
            self.phi, self._pullback = descriptor.linearize(atoms)
            self.region = self.phi
        else:
            both = np.stack([np.ones(len(atoms)), weights])
            (self.phi, self.region), self._pullback = descriptor.linearize(atoms, both)

    def gradient(self, of_phi: np.ndarray, of_region: np.ndarray) -> Gradient:
        """Gradient of ``of_phi . phi + of_region . region``."""
        return self._pullback(of_phi + of_region if self._alone else np.stack([of_phi, of_region]))

    @property
    def row(self) -> FeatureRow:
        """The row with what the forward pass still serves for."""
        if isinstance(self._pullback, LinearizedFeatures):
            return FeatureRow(self.phi, self._pullback.features)
        return FeatureRow(self.phi)


class _LinearPass:
    """Energy and features of a surrogate's mean."""

    def __init__(self, model: Surrogate, atoms: Atoms, rows: _Rows) -> None:
        self.phi, self.region, self.row = rows.phi, rows.region, rows.row
        self._rows, self._mean = rows, model.posterior.mean
        self.energy = model.baseline(atoms) + float(self._mean @ rows.phi)

    def gradient(
        self, energy_weight: float, cotangent: np.ndarray | None = None, last: bool = False
    ) -> Gradient:
        of_region = np.zeros_like(self._mean) if cotangent is None else cotangent
        return self._rows.gradient(energy_weight * self._mean, of_region)


class _NetworkPass:
    """Energy and features of a network."""

    def __init__(self, forward: EnergyAndFeatures, weights: np.ndarray | None) -> None:
        self._forward, self._weights = forward, weights
        self.energy, self.phi = forward.energy, forward.phi
        self.row = FeatureRow(forward.phi)
        self.region = forward.phi if weights is None else weights @ forward.values

    def gradient(
        self, energy_weight: float, cotangent: np.ndarray | None = None, last: bool = False
    ) -> Gradient:
        if self._weights is not None and cotangent is not None:
            cotangent = np.outer(self._weights, cotangent)
        return self._forward.gradient(energy_weight, cotangent, last)


class _JointEvaluation:
    """One pass that gives both energy and features."""

    def __init__(self, forward: _LinearPass | _NetworkPass, volume: float | None) -> None:
        self._forward, self._volume = forward, volume
        self.energy, self.phi, self.region = forward.energy, forward.phi, forward.region
        self.row = forward.row

    def parts(self, cotangent: np.ndarray) -> Parts:
        unbiased = self._forward.gradient(1.0)
        of_features = self._forward.gradient(0.0, cotangent, last=True)
        return Parts(_response(unbiased, self._volume), _response(of_features, self._volume))

    def of_features(self, cotangent: np.ndarray) -> Response:
        return _response(self._forward.gradient(0.0, cotangent), self._volume)

    def combined(self, energy_weight: float, cotangent: np.ndarray) -> Response:
        return _response(self._forward.gradient(energy_weight, cotangent), self._volume)


class _SeparateEvaluation:
    """What an MLIP gave, beside the features of a descriptor."""

    def __init__(
        self, energy: float, unbiased: Response, rows: _Rows, volume: float | None
    ) -> None:
        self.energy, self.phi, self.region = energy, rows.phi, rows.region
        self.row = rows.row
        self._unbiased, self._rows, self._volume = unbiased, rows, volume

    def parts(self, cotangent: np.ndarray) -> Parts:
        return Parts(self._unbiased, self.of_features(cotangent))

    def of_features(self, cotangent: np.ndarray) -> Response:
        return _response(self._rows.gradient(np.zeros_like(cotangent), cotangent), self._volume)

    def combined(self, energy_weight: float, cotangent: np.ndarray) -> Response:
        return self._unbiased.scaled(energy_weight).plus(1.0, self.of_features(cotangent))
