"""Our radial functions as sums of polynomials of r, for files that know no others.

Many-body radials are (1 - x^2)^2 p(x) of an Agnesi coordinate x(r): analytic on [0, cutoff], so
that their Chebyshev series in r converges geometrically. The pair functions have a pole at r = 0
and are expanded on [r_min, cutoff].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...descriptors.ace.edges import MANY_BODY_PQ, PAIR_PQ
from ...descriptors.ace.radial import (
    AgnesiTransform,
    many_body_polynomials,
    pair_envelope,
    pair_polynomials,
    transform_with_derivative,
)
from ...errors import DescriptorError
from .tables import LinearACE

ERROR = 1e-11
"""Largest error of an expansion, over its largest value."""
MOST_FUNCTIONS = 240
STEP = 16
N_POINTS = 4000


class BondRadials(NamedTuple):
    """Radial functions of a centre and a neighbour in ``g_k = (1 - T_k(2 r / cutoff - 1)) / 2``.

    Attributes
    ----------
    many_body
        ``(nmax, K)`` coefficients of J_1 .. J_nmax.
    pair
        ``(K,)`` coefficients of what the neighbour adds to the energy of the centre by itself,
        eV: half its pair functions, and the purification of the many-body ones.
    """

    many_body: np.ndarray
    pair: np.ndarray


def expand_radials(model: LinearACE, r_min: float) -> dict[tuple[int, int], BondRadials]:
    """The expansions of all pairs of elements, all in as many functions.

    Parameters
    ----------
    model
        The potential.
    r_min
        Where the expansion of the pair functions begins, A.

    Raises
    ------
    DescriptorError
        If ``r_min`` asks for too much.
    """
    cutoff = model.descriptor.cutoff
    if not 0 < r_min < cutoff:
        raise DescriptorError(f"r_min: must be between 0 and the cutoff {cutoff} A, got {r_min}")
    species = range(model.n_species)
    wanted = {(a, b): _Bond(model, a, b, r_min) for a in species for b in species}
    for n_functions in range(48, MOST_FUNCTIONS + 1, STEP):
        found = {pair: bond.expanded(n_functions) for pair, bond in wanted.items()}
        if all(error < ERROR for _, error in found.values()):
            return {pair: radials for pair, (radials, _) in found.items()}
    worst = max(error for _, error in found.values())
    raise DescriptorError(
        f"r_min: {MOST_FUNCTIONS} polynomials leave an error of {worst:.1e} of the radial "
        f"functions down to {r_min} A; take a larger r_min"
    )


class _Bond:
    """Values of the radial functions of one pair of elements on points that crowd at both ends."""

    def __init__(self, model: LinearACE, centre: int, neighbour: int, r_min: float) -> None:
        self._cutoff, r0 = model.descriptor.cutoff, float(model.r0[centre, neighbour])
        angles = (np.arange(N_POINTS) + 0.5) * np.pi / N_POINTS
        inner = (1.0 - np.cos(angles)) / 2.0
        self._far, self._near = inner * self._cutoff, r_min + inner * (self._cutoff - r_min)
        used = max(n for function in model.basis.functions for _, _, n in function)
        self._many = many_body_radials(r0, self._cutoff, self._far, used)
        lone = purification(model, centre, neighbour)
        near = many_body_radials(r0, self._cutoff, self._near, len(lone))
        degree = model.descriptor.totaldegree
        pairs = pair_functions(r0, self._cutoff, self._near, degree)
        self._pair = 0.5 * model.pair[:, centre, neighbour] @ pairs + lone @ near

    def expanded(self, n_functions: int) -> tuple[BondRadials, float]:
        """The expansions in so many functions, and their largest relative error."""
        many, error = self._fit(self._far, self._many, n_functions)
        pair, also = self._fit(self._near, self._pair[None], n_functions)
        return BondRadials(many, pair[0]), max(error, also)

    def _fit(self, r: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, float]:
        base = base_functions(r, self._cutoff, n)
        found = np.linalg.lstsq(base.T, values.T, rcond=1e-15)[0].T
        largest = np.abs(values).max(axis=1)
        errors = np.abs(found @ base - values).max(axis=1) / np.where(largest > 0, largest, 1.0)
        return found, float(errors.max())


def base_functions(r: np.ndarray, cutoff: float, n: int) -> np.ndarray:
    """g_1 .. g_n of ML-PACE's ChebPow with exponent 1 at distances ``r (k,)``, ``(n, k)``."""
    return 0.5 - 0.5 * np.polynomial.chebyshev.chebvander(2.0 * r / cutoff - 1.0, n).T[1:]


def many_body_radials(r0: float, cutoff: float, r: np.ndarray, n: int) -> np.ndarray:
    """The many-body radial functions J_1 .. J_n, ``(n, k)``.

    Parameters
    ----------
    r0, cutoff
        Length scale of the pair of elements and cutoff, A.
    r
        Distances ``(k,)``, A.
    n
        How many functions.
    """
    x, _ = transform_with_derivative(r, r0, *MANY_BODY_PQ)
    last = AgnesiTransform(r0, *MANY_BODY_PQ)(cutoff)
    x = 1.0 - 2.0 * (x - last) / (1.0 - last)
    values: np.ndarray = many_body_polynomials(n).evaluate(x) * (1.0 - x * x) ** 2
    return values


def pair_functions(r0: float, cutoff: float, r: np.ndarray, n: int) -> np.ndarray:
    """The pair functions env P_1 .. env P_n, ``(n, k)``.

    Parameters
    ----------
    r0, cutoff
        Length scale of the pair of elements and cutoff, A.
    r
        Distances ``(k,)``, A.
    n
        How many functions.
    """
    x, _ = transform_with_derivative(r, r0, *PAIR_PQ)
    last = AgnesiTransform(r0, *PAIR_PQ)(cutoff)
    polynomials = pair_polynomials(n, -1.0, 1.0).evaluate(1.0 + 2.0 * (x - 1.0) / (1.0 - last))
    envelope, _ = pair_envelope(r, r0, cutoff)
    values: np.ndarray = polynomials * envelope
    return values


def purification(model: LinearACE, centre: int, neighbour: int) -> np.ndarray:
    """Coefficients of J_n in what a neighbour adds to the energy of the centre by linear terms."""
    basis = model.basis
    n = basis.nmax[0]
    factor = basis.factors[:, 0] - neighbour * n  # A with l = 0 come first, by species
    ours = (basis.factors[:, 1] < 0) & (factor >= 0) & (factor < n)
    weights = basis.value[ours] * model.many_body[basis.feature[ours], centre]
    return np.bincount(factor[ours], weights, n) / np.sqrt(4 * np.pi)
