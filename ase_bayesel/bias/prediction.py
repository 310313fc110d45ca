"""What one biased evaluation found, taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ..surrogate.force_uncertainty import LeadingForce, leading_force
from ..surrogate.surrogate import Surrogate, Uncertainty
from .kinds import NO_BIAS, BiasTerms
from .response import Parts, Response
from .tau import TauHistory


def _deferred(surrogate: Surrogate, atoms: Atoms) -> Callable[[], Uncertainty]:
    return lambda: surrogate.uncertainty(atoms)


class once:
    """A property that is formed when first asked for, as by ``functools.cached_property``.

    That one holds a lock meanwhile in Python 3.11, and walkers in lock-step, which
    wait for each other in the middle of an evaluation, would wait for ever.
    """

    def __init__(self, method: Callable[[Any], Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.method.__name__] = self.method(instance)
        return value


@dataclass(frozen=True)
class Evaluated:
    """Numbers of one evaluation.

    ``energy`` is unbiased, ``energy_std`` sigma_E with its floor, eV; ``tau`` the strength used;
    ``forces (n_atoms, 3)`` eV/A and ``stress (6,)`` eV/A^3 or None those of the biased surface;
    ``before`` and ``after`` the history of tau.
    """

    energy: float
    energy_std: float
    tau: float
    terms: BiasTerms
    forces: np.ndarray
    stress: np.ndarray | None = None
    before: TauHistory = TauHistory()
    after: TauHistory = TauHistory()


class Judged(NamedTuple):
    """A structure and the surrogate that judged it."""

    surrogate: Surrogate
    atoms: Atoms


@dataclass(frozen=True)
class Prediction:
    """One evaluation of a `BiasedCalculator`, taken apart; eV and A.

    Attributes
    ----------
    energy, forces, stress
        Unbiased values of the MLIP: eV, ``(n_atoms, 3)`` eV/A, ``(6,)`` eV/A^3.
        The stress is None without three periodic directions or where the MLIP has none.
    bias_energy, bias_forces, bias_stress
        What the bias adds to them.
    energy_std
        sigma_E of the whole structure with its floor, eV, whatever the bias looks at.
    tau
        The strength used in this evaluation.
    terms
        What the gradient of the biased energy is made of.
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
    _sigma_forces: Callable[[], np.ndarray] | None = None
    _search: Callable[[np.ndarray], LeadingForce] | None = None
    _judged: Judged | None = None
    terms: BiasTerms = NO_BIAS

    @property
    def separated(self) -> bool:
        """Whether unbiased and bias forces are at hand without a further evaluation."""
        return True

    @property
    def biased_forces(self) -> np.ndarray:
        """Forces on the biased surface, ``(n_atoms, 3)`` eV/A; always at hand."""
        return self.forces + self.bias_forces

    @once
    def uncertainty(self) -> Uncertainty:
        """Exact standard deviations; formed from the full Jacobian when first asked for."""
        return self._uncertainty()

    @property
    def force_std(self) -> np.ndarray:
        """``(n_atoms,)`` length of each atom's force deviation, eV/A."""
        return self.uncertainty.forces

    @property
    def known_force_std(self) -> np.ndarray | None:
        """`force_std` if somebody has asked for the exact deviations already, else None."""
        return self.force_std if "uncertainty" in self.__dict__ else None

    @property
    def searched(self) -> bool:
        """Whether `leading_force` has to search, for want of exact deviations."""
        return self._search is not None and "uncertainty" not in self.__dict__

    def leading_force(self, scales: np.ndarray) -> LeadingForce:
        """The atom with the largest ``force_std / scales``, and its exact force deviation.

        Where the calculator has a `ForceSearch` and `uncertainty` is not known yet, it
        may miss an atom whose ratio is somewhat larger.
        """
        if self.searched:
            assert self._search is not None
            return self._search(scales)
        return leading_force(self.force_std, scales)

    @once
    def force_std_bound(self) -> np.ndarray:
        """|grad_i sigma_E| ``(n_atoms,)``, eV/A: never above `force_std` (Cauchy-Schwarz).

        Of the whole structure; where the bias looks at a region it costs a pass.
        """
        if self._sigma_forces is None:
            raise RuntimeError("this prediction was made without the gradient of sigma_E")
        return np.linalg.norm(self._sigma_forces(), axis=1)

    @once
    def stress_std(self) -> np.ndarray | None:
        """``(6,)`` eV/A^3, None without three periodic directions; exact.

        Costs no full Jacobian where `leading_force` has to search.
        """
        if self.searched:
            return self._of.surrogate.stress_std(self._of.atoms)
        return self.uncertainty.stress

    @once
    def local_energy_std(self) -> np.ndarray:
        """``(n_atoms,)`` deviation sqrt(b_i^T Sigma b_i) of each atom's energy, eV."""
        return self._of.surrogate.local_energy_std(self._of.atoms)

    @once
    def information_gain(self) -> float:
        """What a label of this structure would add to log det Sigma^-1 (Eq. 4), no unit."""
        return self._of.surrogate.information_gain(self._of.atoms)

    @property
    def _of(self) -> Judged:
        if self._judged is None:
            raise RuntimeError("this prediction was made without its surrogate")
        return self._judged


class JoinedPrediction(Prediction):
    """A prediction from one combined backward pass of the biased energy.

    Unbiased and bias forces and stress are evaluated when first asked for.
    """

    def __init__(
        self,
        energy: float,
        energy_std: float,
        tau: float,
        terms: BiasTerms,
        biased: Response,
        parts: Callable[[], Parts],
        sigma_forces: Callable[[Parts], np.ndarray],
        uncertainty: Callable[[], Uncertainty],
        search: Callable[[np.ndarray], LeadingForce] | None,
        judged: Judged | None = None,
    ) -> None:
        known = {
            "energy": energy,
            "bias_energy": terms.energy,
            "energy_std": energy_std,
            "tau": tau,
            "_uncertainty": uncertainty,
            "_search": search,
            "terms": terms,
            "_judged": judged,
            "_biased": biased,
            "_take_apart": parts,
            "_of_parts": sigma_forces,
        }
        self.__dict__.update(known)

    @property
    def separated(self) -> bool:
        return "_parts" in self.__dict__

    @property
    def biased_forces(self) -> np.ndarray:
        return self.__dict__["_biased"].forces

    @once
    def _parts(self) -> Parts:
        return self.__dict__["_take_apart"]()

    @once
    def _bias(self) -> Response:
        return self._parts.bias(self.terms)

    @once
    def forces(self) -> np.ndarray:  # type: ignore[override]
        return self._parts.unbiased.forces

    @once
    def stress(self) -> np.ndarray | None:  # type: ignore[override]
        return self._parts.unbiased.stress

    @once
    def bias_forces(self) -> np.ndarray:  # type: ignore[override]
        return self._bias.forces

    @once
    def bias_stress(self) -> np.ndarray | None:  # type: ignore[override]
        return self._bias.stress

    def _sigma_forces(self) -> np.ndarray:  # type: ignore[override]
        return self.__dict__["_of_parts"](self._parts)

    def __repr__(self) -> str:
        return (
            f"JoinedPrediction(energy={self.energy}, energy_std={self.energy_std}, tau={self.tau})"
        )
