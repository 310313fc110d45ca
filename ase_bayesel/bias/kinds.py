"""The bias: which function of the uncertainty lowers the energy, and how strongly.

Hyperactive learning (van der Oord et al., npj Comput. Mater. 9, 168, 2023) runs MD on
E - tau sigma_E. tau is set so that the bias force is a chosen fraction tau_rel of the
unbiased force. Numbers and arrays only: pure state to state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import StructureError

SIGMA_FLOOR = 1e-6
"""eV; sigma = sqrt(phi^T Sigma phi + floor^2), so that its gradient exists everywhere."""
Region = str | Collection[Any] | Mapping[str, float] | Callable[[Any], Any] | None
"""Which atoms the bias looks at, see `atom_weights`."""


class BiasTerms(NamedTuple):
    """The bias E_bias = E_b - E at one structure, and what the gradient of E_b is made of.

    grad E_b = (1 + ``dE_bias_dE``) grad E - ``strength`` grad U, with U the function of
    the variance that the bias follows (see `Bias.U_of_variance`).

    Attributes
    ----------
    energy
        E_bias, eV.
    dE_bias_dE
        Its derivative by the unbiased energy at constant U; 0 without an energy limit.
    strength
        -dE_bias/dU, which is tau times the share that the energy limit leaves; in eV over
        the unit of U.
    """

    energy: float
    dE_bias_dE: float
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

    kind: ClassVar[str]

    region: Region = None
    energy_limit: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.region, np.ndarray | list):
            object.__setattr__(self, "region", tuple(np.asarray(self.region).tolist()))
        if self.energy_limit is not None and not 0 < self.energy_limit < np.inf:
            raise ValueError(f"energy_limit: must be positive (eV/atom), got {self.energy_limit}")

    def U_of_variance(self, variance: Any) -> tuple[Any, Any]:
        """U, and the factor f of dU/dphi_w = f Sigma phi_w, for phi_w^T Sigma phi_w in eV^2.

        The variance is a number, an array or a tensor.
        """
        raise NotImplementedError

    def terms(self, tau: float, U: float, rise: float, n_atoms: int) -> BiasTerms:
        """The bias at one structure.

        Parameters
        ----------
        tau
            Strength, in eV over the unit of U.
        U
            The function of the variance that the bias follows, as of `U_of_variance`.
        rise
            E - E_start of the whole structure, eV.
        n_atoms
            Number of atoms.
        """
        share, dshare_dx = self._share(rise / n_atoms)
        return BiasTerms(-tau * share * U, -tau * U * dshare_dx / n_atoms, tau * share)

    def _share(self, x: float) -> tuple[float, float]:
        """s and ds/dx at x, the rise of the energy per atom (eV)."""
        if self.energy_limit is None:
            return 1.0, 0.0
        t = min(max(2.0 * x / self.energy_limit - 1.0, 0.0), 1.0)
        share = 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
        return share, -60.0 * t**2 * (1.0 - t) ** 2 / self.energy_limit


@dataclass(frozen=True)
class Deviation(Bias):
    """E - tau sigma_E, U = sigma_E = sqrt(phi_w^T Sigma phi_w); tau has no unit.

    Hyperactive learning (van der Oord et al., npj Comput. Mater. 9, 168, 2023). The bias
    force does not fade as the uncertainty falls. See `Bias` for the fields.
    """

    kind: ClassVar[str] = "deviation"

    def U_of_variance(self, variance: Any) -> tuple[Any, Any]:
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

    kind: ClassVar[str] = "variance"

    def U_of_variance(self, variance: Any) -> tuple[Any, Any]:
        """sigma_E^2, and 2."""
        return variance, 2.0


BIASES: tuple[type[Bias], ...] = (Deviation, Variance)
"""What a config can name by its kind."""


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


def _from_numbers(numbers: np.ndarray, n_atoms: int) -> np.ndarray:
    """Weights from indices, a mask or weights."""
    if numbers.ndim == 1 and numbers.dtype.kind in "iu":
        if numbers.min(initial=0) < -n_atoms or numbers.max(initial=0) >= n_atoms:
            raise StructureError(f"bias: an index of the region is not below {n_atoms} atoms")
        return np.bincount(numbers % n_atoms, minlength=n_atoms).clip(max=1).astype(float)
    if numbers.shape != (n_atoms,) or numbers.dtype.kind not in "bf":
        raise StructureError(
            f"bias: expected symbols, indices, or a mask or weights of {n_atoms} atoms, got "
            f"an array of shape {numbers.shape} and type {numbers.dtype}"
        )
    return numbers.astype(float)
