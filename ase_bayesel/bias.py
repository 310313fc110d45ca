"""The bias: which function of the uncertainty lowers the energy, and how strongly.

Hyperactive learning (van der Oord et al., npj Comput. Mater. 9, 168, 2023) runs MD on
E - tau sigma_E. tau is set so that the bias force is a chosen fraction tau_rel of the
unbiased force. Numbers and arrays only: pure state to state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .errors import StructureError

SIGMA_FLOOR = 1e-6
"""eV; sigma = sqrt(phi^T Sigma phi + floor^2), so that its gradient exists everywhere."""

Region = str | Collection[Any] | Mapping[str, float] | Callable[[Any], Any] | None
"""Which atoms the bias looks at, see `atom_weights`."""


class BiasTerms(NamedTuple):
    """The bias at one structure: E_b = E + ``energy``, and what its gradient is made of.

    grad E_b = (1 + ``of_energy``) grad E - ``strength`` grad U, with U the function of
    the variance whose ``strength`` is in its own inverse unit times eV.
    """

    energy: float
    of_energy: float
    strength: float


NO_BIAS = BiasTerms(0.0, 0.0, 0.0)
"""The terms without a bias."""


@dataclass(frozen=True)
class Bias:
    """What `Deviation` and `Variance` share: E_b = E - tau s(x) U(phi_w).

    Attributes
    ----------
    region
        The atoms whose uncertainty counts: phi_w = sum_i w_i phi_i with the weights of
        `atom_weights`. None takes all of them, w_i = 1. The variance phi_w^T Sigma phi_w
        is that of the energy that the model assigns to these atoms, so that the bias
        acts on them and on their neighbours, at a surface, say, and not in the bulk.
    energy_limit
        An upper bound, eV/atom, on what the bias pays for: with x = (E - E_start) / N,
        the rise of the unbiased potential energy above that of the trajectory's start,
        the bias fades by s(x), which is 1 up to half the limit and 0 from the limit on:
        s = 1 - t^3 (10 - 15 t + 6 t^2), t = 2 x / energy_limit - 1. Beyond the limit MD
        is unbiased: only heat can lift the energy further. None for no bound.

        The bias as a function of the potential energy that vanishes beyond a threshold
        is that of accelerated MD (Hamelberg et al., J. Chem. Phys. 120, 11919, 2004).
        E_b stays a function of the positions, so the forces, which include the
        derivative of s, are its exact gradient; since s falls with E this part only adds
        to the unbiased force, and no new minimum appears. A wall that rises with E would
        multiply every force beyond it and falsify the thermal motion there.
    """

    region: Region = None
    energy_limit: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.region, np.ndarray | list):
            object.__setattr__(self, "region", tuple(np.asarray(self.region).tolist()))
        if self.energy_limit is not None and not 0 < self.energy_limit < np.inf:
            raise ValueError(f"energy_limit: must be positive (eV/atom), got {self.energy_limit}")

    def level(self, variance: Any) -> tuple[Any, Any]:
        """U and the factor f of grad U = f Sigma phi_w, for phi_w^T Sigma phi_w in eV^2.

        A number or an array or tensor of them.
        """
        raise NotImplementedError

    def terms(self, tau: float, level: float, rise: float, n_atoms: int) -> BiasTerms:
        """The bias of strength ``tau`` where U is ``level`` and E - E_start is ``rise`` (eV)."""
        share, slope = self._share(rise / n_atoms)
        return BiasTerms(-tau * share * level, -tau * level * slope / n_atoms, tau * share)

    def _share(self, rise: float) -> tuple[float, float]:
        """s and its derivative at ``rise`` (eV/atom)."""
        if self.energy_limit is None:
            return 1.0, 0.0
        t = min(max(2.0 * rise / self.energy_limit - 1.0, 0.0), 1.0)
        share = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
        return share, -60.0 * t**2 * (1.0 - t) ** 2 / self.energy_limit


@dataclass(frozen=True)
class Deviation(Bias):
    """E - tau sigma_E, U = sigma_E = sqrt(phi_w^T Sigma phi_w); tau has no unit.

    Hyperactive learning (van der Oord et al., npj Comput. Mater. 9, 168, 2023). The bias
    force does not fade as the uncertainty falls. See `Bias` for the fields.
    """

    def level(self, variance: Any) -> tuple[Any, Any]:
        """sigma_E with its floor, and its inverse."""
        sigma = (variance + SIGMA_FLOOR**2) ** 0.5
        return sigma, 1.0 / sigma


@dataclass(frozen=True)
class Variance(Bias):
    """E - tau sigma_E^2, U = phi_w^T Sigma phi_w; tau in 1/eV.

    The limit of small uncertainty of uncertainty-driven dynamics (Kulichenko et al.,
    Nat. Comput. Sci. 3, 230, 2023), whose bias A (exp(-sigma_E^2 / B) - 1) is
    -(A / B) sigma_E^2 there. The force 2 tau sigma_E grad sigma_E grows with the
    uncertainty: weak near the training set, and stronger the further the structure has
    left it, without the saturation of the exponential; `TauRule` and ``energy_limit``
    bound it instead. See `Bias` for the fields.
    """

    def level(self, variance: Any) -> tuple[Any, Any]:
        """sigma_E^2, and 2."""
        return variance, 2.0


def atom_weights(region: Region, atoms: Any) -> np.ndarray | None:
    """The weights w ``(n_atoms,)`` of the atoms in the bias; None if all are one.

    Parameters
    ----------
    region
        A chemical symbol or a set of them; a mapping from symbols to weights (others
        have none); indices of atoms (integers); a mask (booleans); weights (floats); or
        a function of the structure that returns one of the last three, by tags, say,
        which ASE's surface builders set to the number of the layer:
        ``lambda atoms: atoms.get_tags() <= 2``. A bias is only conservative if the
        weights do not depend on positions: the function sees none (NaN).
    atoms
        The structure.

    Raises
    ------
    StructureError
        If the region does not fit the structure: an index or a length out of range,
        weights that are negative or not finite, or no atom with a weight.
    """
    if region is None:
        return None
    if isinstance(region, str):
        region = {region: 1.0}
    if callable(region):
        blind = atoms.copy()
        blind.arrays["positions"] = np.full((len(atoms), 3), np.nan)
        region = region(blind)
    if isinstance(region, Collection) and any(isinstance(entry, str) for entry in region):
        by_symbol = region if isinstance(region, Mapping) else dict.fromkeys(region, 1.0)
        weights = np.array([by_symbol.get(symbol, 0.0) for symbol in atoms.symbols], float)
    else:
        weights = _from_numbers(np.asarray(region), len(atoms))
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise StructureError("bias: the weights of atoms must be finite and not negative")
    if not weights.any():
        raise StructureError(
            f"bias: no atom of {atoms.get_chemical_formula()} lies in the region (positions "
            "are hidden from a function that chooses it: use tags, arrays or indices)"
        )
    return weights


def _from_numbers(given: np.ndarray, n_atoms: int) -> np.ndarray:
    """Weights from indices, a mask or weights."""
    if given.ndim == 1 and given.dtype.kind in "iu":
        if given.min(initial=0) < -n_atoms or given.max(initial=0) >= n_atoms:
            raise StructureError(f"bias: an index of the region is not below {n_atoms} atoms")
        return np.bincount(given % n_atoms, minlength=n_atoms).clip(max=1).astype(float)
    if given.shape != (n_atoms,) or given.dtype.kind not in "bf":
        raise StructureError(
            f"bias: expected symbols, indices, or a mask or weights of {n_atoms} atoms, got "
            f"an array of shape {given.shape} and type {given.dtype}"
        )
    return given.astype(float)


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
        ``bias_force_max``.
    memory
        Number of evaluations over which the averages forget.
    interval
        Only the first of this many evaluations enters the averages. None leaves
        it to the calculator: 1 where the unbiased forces are there anyway or
        cheap, 10 where they cost a second backward pass through a neural network.
    bias_force_max
        Upper limit of the largest bias force tau |grad_i U| on an atom, eV/A. It is tau
        that is limited, one number for all atoms, so that the bias stays the gradient
        of an energy. Without it tau_rel feeds on itself: a bias that heats makes the
        unbiased forces larger, and these tau. The limit holds in every evaluation
        that enters the averages; in between, with an ``interval``, their running
        maximum stands for the gradient.
    heat_max
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
    bias_force_max: float = 5.0
    heat_max: float = 1.0

    def __post_init__(self) -> None:
        if not self.tau_rel >= 0 or not np.isfinite(self.tau_rel):
            raise ValueError(f"tau_rel: must be finite and not negative, got {self.tau_rel}")
        if self.delay < 1 or self.memory < 1:
            raise ValueError("tau_rel: delay and memory must be at least 1")
        limits = [self.bias_force_max, self.heat_max]
        limits += [] if self.tau_max is None else [self.tau_max]
        if not all(limit > 0 for limit in limits):
            raise ValueError("tau_max, bias_force_max and heat_max must be positive")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"interval: must be at least 1, got {self.interval}")

    def limit(self, peak: float) -> float:
        """The largest tau for ``peak``, the largest |grad_i U| of all atoms."""
        return self.bias_force_max / peak if peak > 0 else np.inf


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
    heat
        Relative excess of the recent temperature over its target.
    """

    n: int = 0
    force: float = 0.0
    gradient: float = 0.0
    peak: float = 0.0
    start_energy: float | None = None
    heat: float = 0.0

    def emptied(self) -> TauHistory:
        """The same trajectory with new averages."""
        return TauHistory(start_energy=self.start_energy, heat=self.heat)

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
        """History after one more evaluation; ``forces`` and ``gradient`` are ``(n_atoms, 3)``.

        With an ``interval`` this evaluation stands for those that will be skipped. With
        ``weights (n_atoms,)`` the means are taken over the atoms of a region: over all
        of them a small region would get the bias of the whole structure.
        """
        share = 1.0 / min(self.n // interval + 1, max(1, rule.memory // interval))
        slopes = np.linalg.norm(gradient, axis=1)
        force = float(np.average(np.linalg.norm(forces, axis=1), weights=weights))
        slope = float(np.average(slopes, weights=weights))
        fading = self.peak * (1.0 - min(1.0, interval / rule.memory))
        return replace(
            self,
            n=self.n + 1,
            force=self.force + share * (force - self.force),
            gradient=self.gradient + share * (slope - self.gradient),
            peak=max(float(slopes.max()), fading),
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
        return tau * min(1.0, max(0.0, 2.0 - 2.0 * self.heat / rule.heat_max))
