"""What every descriptor offers, and what it returns.

A descriptor turns a structure into feature rows. The feature row of a
structure is the sum of its per-atom values, so that a model linear in it is
extensive: E = sum_i c . phi_i.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""ASE's Voigt order: xx, yy, zz, yz, xz, xy."""


def voigt6(tensor: np.ndarray) -> np.ndarray:
    """Symmetric part of ``(..., 3, 3)`` tensors as ``(..., 6)`` in ASE's Voigt order."""
    return np.stack([(tensor[..., a, b] + tensor[..., b, a]) / 2 for a, b in VOIGT], axis=-1)


@dataclass(frozen=True)
class Features:
    """Descriptor values of one structure, and on request their derivatives.

    Attributes
    ----------
    values
        ``(n_atoms, n_features)``, one row per atom.
    jacobian
        ``(n_features, n_atoms, 3)``, derivative of the structure sum with
        respect to each atom's position, 1/A. None unless asked for.
    strain
        ``(n_features, 6)``, derivative of the structure sum with respect to a
        symmetric strain in ASE's Voigt order. None unless asked for.
    """

    values: np.ndarray
    jacobian: np.ndarray | None = None
    strain: np.ndarray | None = None

    @property
    def total(self) -> np.ndarray:
        """The structure's feature row phi, ``(n_features,)``."""
        return self.values.sum(axis=0)


@dataclass(frozen=True)
class Sketch:
    """Descriptor values of one structure, and random projections of its force rows.

    With signs V ``(m, 3 N)`` of +-1, the rows V Phi_F / sqrt(m) have the Gram matrix
    Phi_F^T Phi_F in expectation (Hutchinson 1990), and with the projected forces they keep
    the whole least-squares problem in expectation. The Frobenius error of the Gram matrix
    G of one structure is at most sqrt((tr(G)^2 + |G|_F^2) / m) on average, and averages
    out over structures.

    Attributes
    ----------
    values
        ``(n_atoms, n_features)``, one row per atom.
    moves
        ``(m, n_atoms, 3)`` the signs V.
    slopes
        ``(m, n_features)``, derivative of the structure sum along each of them, 1/A.
    strain
        ``(n_features, 6)`` as in `Features`, exact.
    """

    values: np.ndarray
    moves: np.ndarray
    slopes: np.ndarray
    strain: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """The structure's feature row phi, ``(n_features,)``."""
        return self.values.sum(axis=0)

    @property
    def force_rows(self) -> np.ndarray:
        """``(m, n_features)`` in place of the 3 N exact ones."""
        return -self.slopes / np.sqrt(len(self.slopes))

    def project(self, forces: np.ndarray) -> np.ndarray:
        """Forces ``(n_atoms, 3)`` as the ``(m,)`` observations that belong to `force_rows`."""
        return np.einsum("mak,ak->m", self.moves, forces) / np.sqrt(len(self.moves))


class Gradient(NamedTuple):
    """Gradient of a scalar function of a structure.

    ``positions`` is ``(n_atoms, 3)``; ``strain`` is ``(6,)`` in ASE's Voigt
    order, so that a stress is ``strain / volume``.
    """

    positions: np.ndarray
    strain: np.ndarray


Pullback = Callable[[np.ndarray], Gradient]


class LinearizedFeatures(ABC):
    """A pullback that knows how to go on to features with all derivatives."""

    @abstractmethod
    def __call__(self, cotangent: np.ndarray) -> Gradient:
        """As any `Pullback`."""

    @abstractmethod
    def features(self) -> Features:
        """What `Descriptor.compute` gives with derivatives, bit for bit."""


@runtime_checkable
class Descriptor(Protocol):
    """The interface that the surrogate, the calculator and the campaign rely on."""

    @property
    def elements(self) -> Sequence[str]:
        """Symbols of the elements that it knows."""
        ...

    @property
    def n_features(self) -> int:
        """Length D of a feature row."""
        ...

    def compute(self, frames: Iterable[Atoms], derivatives: bool = False) -> list[Features]:
        """Features of each structure, with derivatives of the structure sum on request."""
        ...

    def linearize(
        self, atoms: Atoms, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pullback]:
        """The feature row ``(D,)`` and its pullback.

        ``pullback(cotangent)`` is the gradient of ``cotangent . phi``; it reuses
        the forward pass and may be called more than once.

        With ``weights (G, n_atoms)`` there are G rows, weighted sums over the atoms:
        phi is ``weights @ values``, ``(G, D)`` as the cotangent then is.
        """
        ...

    def vjp(self, atoms: Atoms, cotangent: np.ndarray) -> Gradient:
        """Gradient of ``cotangent . phi`` in one forward and one backward pass."""
        ...

    def prior_std(self) -> np.ndarray:
        """Relative prior standard deviation of each coefficient, ``(D,)``."""
        ...

    def spec(self) -> dict[str, Any]:
        """JSON-serialisable description from which ``from_spec`` rebuilds the descriptor."""
        ...


class EnergyAndFeatures(Protocol):
    """One forward pass of a potential that is also a descriptor.

    ``energy`` in eV and ``phi (D,)``. It may hold much memory.
    """

    energy: float
    phi: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """``(n_atoms, D)``, one feature row per atom."""
        ...

    def gradient(
        self, energy_weight: float, cotangent: np.ndarray | None = None, last: bool = False
    ) -> Gradient:
        """Gradient of ``energy_weight * energy + cotangent . phi`` in one backward pass.

        With one cotangent per atom, ``(n_atoms, D)``, the second term is the sum of
        their products with the atoms' rows. After the ``last`` one the memory of the
        pass may be gone.
        """
        ...

    def pushforward(self, moves: np.ndarray) -> np.ndarray:
        """Derivatives ``(T, D)`` of phi along displacements ``(T, n_atoms, 3)``."""
        ...


class Combination(NamedTuple):
    """The scalar ``energy_weight * energy + cotangent . phi`` of one structure.

    A cotangent ``(n_atoms, D)`` has one row per atom, as in `EnergyAndFeatures`.
    """

    energy_weight: float
    cotangent: np.ndarray | None = None


class BatchedPass(Protocol):
    """One forward pass over B structures of a potential that is also a descriptor.

    ``energies (B,)`` in eV and ``phi (B, D)``. It may hold much memory.
    """

    energies: np.ndarray
    phi: np.ndarray

    def values(self, index: int) -> np.ndarray:
        """Feature rows ``(n_atoms, D)`` of one structure's atoms."""
        ...

    def gradients(
        self, wanted: Mapping[int, Combination], last: bool = False
    ) -> dict[int, Gradient]:
        """Gradient of one combination for each index that is asked for, in one backward pass.

        After the ``last`` one the memory of the pass may be gone.
        """
        ...

    def pushforward(self, index: int, moves: np.ndarray) -> np.ndarray:
        """Derivatives ``(T, D)`` of one structure's phi along displacements ``(T, N, 3)``."""
        ...


class OnePass:
    """One structure of a `BatchedPass`, as `EnergyAndFeatures`."""

    def __init__(self, batch: BatchedPass, index: int = 0) -> None:
        self.batch, self.index = batch, index
        self.energy = float(batch.energies[index])
        self.phi = batch.phi[index]

    @property
    def values(self) -> np.ndarray:
        """``(n_atoms, D)``, one feature row per atom."""
        return self.batch.values(self.index)

    def gradient(
        self, energy_weight: float, cotangent: np.ndarray | None = None, last: bool = False
    ) -> Gradient:
        """Gradient of ``energy_weight * energy + cotangent . phi`` in one backward pass.

        As in `EnergyAndFeatures`; the ``last`` one frees the graph as it goes.
        """
        wanted = {self.index: Combination(energy_weight, cotangent)}
        return self.batch.gradients(wanted, last)[self.index]

    def pushforward(self, moves: np.ndarray) -> np.ndarray:
        """Derivatives ``(T, D)`` of phi along displacements ``(T, n_atoms, 3)``."""
        return self.batch.pushforward(self.index, moves)


@runtime_checkable
class JointDescriptor(Protocol):
    """A descriptor whose features are intermediate values of a potential."""

    @property
    def batch_atoms(self) -> int:
        """Atoms in one batch beyond which more structures in it no longer pay."""
        ...

    def serves(self, calculator: Calculator) -> bool:
        """Whether ``calculator`` is that potential, so that `forward` can replace it."""
        ...

    def forward(self, atoms: Atoms) -> EnergyAndFeatures:
        """Energy and features of one structure from one forward pass."""
        ...

    def forward_batch(self, frames: Sequence[Atoms]) -> BatchedPass:
        """Energies and features of structures from one forward pass."""
        ...


_joint: dict[type, bool] = {}


def is_joint(descriptor: object) -> TypeGuard[JointDescriptor]:
    """Whether it is a `JointDescriptor`; classes are asked once, since asking takes long."""
    kind = type(descriptor)
    if kind not in _joint:
        _joint[kind] = isinstance(descriptor, JointDescriptor)
    return _joint[kind]


@runtime_checkable
class PotentialDescriptor(Protocol):
    """A descriptor that offers the potential whose intermediate values its features are."""

    def calculator(self) -> Calculator:
        """That potential as an ASE calculator, which a `JointDescriptor` `serves`."""
        ...


@runtime_checkable
class StateReader(Protocol):
    """A descriptor that reads the charge or the multiplicity of a structure."""

    @property
    def states_read(self) -> Sequence[str]:
        """Which keys of an `ElectronicState` it reads."""
        ...


@runtime_checkable
class SketchingDescriptor(Protocol):
    """A descriptor that projects force rows at less than the price of forming them."""

    def sketch(
        self, frames: Sequence[Atoms], n_projections: int, rng: np.random.Generator
    ) -> list[Sketch]:
        """Values and ``n_projections`` random combinations of the force rows of each structure."""
        ...


def as_frames(frames: Atoms | Iterable[Atoms]) -> list[Atoms]:
    """A list of structures from one structure or several."""
    return [frames] if isinstance(frames, Atoms) else list(frames)
