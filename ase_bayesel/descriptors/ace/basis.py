"""Enumeration and coupling coefficients of the many-body linear ACE basis.

Pure tables, no geometry. One-particle functions are A_v with v = (z, n, l, m);
every many-body function is a polynomial in them,

    B_k = sum_v C1[k, v] A_v + sum C2 A_v A_w + sum C3 A_v A_w A_u,

where the linear terms are the purification (``pure2b``) that removes what a
single neighbour alone would give.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, islice
from math import factorial, pi, sqrt

import numpy as np

from .angular import real_wigner_3j, wigner_3j
from .channels import Channels
from .radial import many_body_polynomials, radials_on_nodes

EXTRA_RADIALS = 8
"""Products of radials reach degree T + 6 at most, so l = 0 radials up to T + 8 purify exactly."""
OneParticle = tuple[int, int, int]
"""(l, species of neighbours or channel, n); sorted multisets label the many-body functions."""


@dataclass(frozen=True)
class ManyBodyBasis:
    """Tables of the many-body block of one centre species (the same for every centre).

    Attributes
    ----------
    functions
        The multiset of (l, species, n) of each of the K functions, ordered by their
        highest l first, so that functions up to some l depend on a prefix of A.
    nmax
        Largest n of the stored A for each l = 0 .. lmax.
    n_channels
        Number of species or channels of the stored A for each l = 0 .. lmax.
    coefficients
        ``(K, ...)`` monomial terms: arrays ``feature``, ``factors (terms, 3)``
        with -1 for an absent factor, and ``value``, sorted by factors.
    smoothness
        ``(K,)`` the d of the prior P = 1 + d.
    n_one_particle
        Number V of one-particle functions; v runs over l, then channels, then n, then m.
    """

    functions: tuple[tuple[OneParticle, ...], ...]
    nmax: tuple[int, ...]
    n_channels: tuple[int, ...]
    feature: np.ndarray
    factors: np.ndarray
    value: np.ndarray
    smoothness: np.ndarray

    @property
    def lmax(self) -> int:
        """Largest degree l of the stored A."""
        return len(self.nmax) - 1

    @property
    def n_one_particle(self) -> int:
        """Number V of one-particle functions, the length of A."""
        return self.prefix_length(self.lmax)

    def prefix_length(self, lmax: int) -> int:
        """Number of one-particle functions with l up to ``lmax``."""
        return sum(_widths(self.nmax, self.n_channels)[: lmax + 1])

    def blocks(self) -> list[tuple[slice, int]]:
        """Runs of functions of equal highest l, each with the length of A's prefix it needs."""
        highest = np.array([_highest_l(f) for f in self.functions])
        runs = []
        for lmax in np.unique(highest):
            members = np.flatnonzero(highest == lmax)
            runs.append((slice(members[0], members[-1] + 1), self.prefix_length(int(lmax))))
        return runs


@lru_cache(maxsize=16)
def many_body_basis(
    n_species: int, order: int, totaldegree: int, channels: Channels | None = None
) -> ManyBodyBasis:
    """Enumerate all functions with sum_i (n_i + 1.5 l_i) <= totaldegree and their coefficients.

    Order 2 has multisets {(z1,n1,l), (z2,n2,l)}; order 3 has multisets with an
    even sum of l that obeys the triangle inequality, one invariant each.

    Parameters
    ----------
    n_species
        Number of elements.
    order, totaldegree
        As of `ACEDescriptor`.
    channels
        What z counts in place of species; their costs add to the degree.
    """
    channels = channels or Channels.of_species(n_species)
    functions = sorted(
        (f for k in range(2, order + 1) for f in _multisets(channels.costs, k, totaldegree)),
        key=lambda f: (_highest_l(f), len(f), f),
    )
    nmax = _nmax(functions, totaldegree)
    n_channels = (n_species, *[len(channels.costs)] * (len(nmax) - 1))
    index = _OneParticleIndex(nmax, n_channels)
    overlaps = _Overlaps(totaldegree)
    feature: list[int] = []
    factors: list[tuple[int, ...]] = []
    value: list[float] = []
    smoothness = np.zeros(len(functions))
    for k, function in enumerate(functions):
        purification = overlaps.single_neighbour(function)
        for key, coefficient in _real_terms(function, index).items():
            feature.append(k)
            factors.append(key + (-1,) * (3 - len(key)))
            value.append(coefficient)
        weights = channels.product([z for _, z, _ in function])
        alone = [(int(z), weights[z] * purification) for z in np.flatnonzero(weights)]
        for z, coefficients in alone:
            for n, coefficient in enumerate(coefficients, start=1):
                feature.append(k)
                factors.append((index(0, z, n, 0), -1, -1))
                value.append(coefficient)
        smoothness[k] = _smoothness(function, [coefficients for _, coefficients in alone])
    return ManyBodyBasis(
        functions=tuple(functions),
        nmax=nmax,
        n_channels=n_channels,
        feature=np.array(feature, int),
        factors=np.array(factors, int).reshape(-1, 3),
        value=np.array(value, float),
        smoothness=smoothness,
    )


def count_functions(costs: Sequence[float], order: int, totaldegree: int, most: int) -> int:
    """How many functions `many_body_basis` has, or ``most + 1`` where there are more.

    Parameters
    ----------
    costs
        Of each species or channel, as of `Channels`.
    order, totaldegree
        As of `many_body_basis`.
    most
        It counts no further than one more.
    """
    functions = (f for k in range(2, order + 1) for f in _multisets(costs, k, totaldegree))
    return sum(1 for _ in islice(functions, most + 1))


def _multisets(
    costs: Sequence[float], order: int, totaldegree: int
) -> Iterator[tuple[OneParticle, ...]]:
    lmax = int((totaldegree - 1) / 1.5)
    for ls in combinations_with_replacement(range(lmax + 1), order):
        if not _couples(ls):
            continue
        n_total = totaldegree - 1.5 * sum(ls)
        yield from _with_radials(ls, costs, n_total, ())


def _highest_l(function: tuple[OneParticle, ...]) -> int:
    return max(degree for degree, _, _ in function)


def _couples(ls: tuple[int, ...]) -> bool:
    if len(ls) == 2:
        return ls[0] == ls[1]
    return sum(ls) % 2 == 0 and ls[2] <= ls[0] + ls[1]


def _with_radials(
    ls: tuple[int, ...], costs: Sequence[float], budget: float, chosen: tuple[OneParticle, ...]
) -> Iterator[tuple[OneParticle, ...]]:
    """All sorted multisets with these l whose n and costs sum to at most ``budget``."""
    if len(chosen) == len(ls):
        yield chosen
        return
    degree = ls[len(chosen)]
    to_come = len(ls) - len(chosen) - 1
    for z, cost in enumerate(costs):
        for n in range(1, int(budget - cost - to_come) + 1):
            radial = (degree, z, n)
            if not chosen or radial >= chosen[-1]:
                yield from _with_radials(ls, costs, budget - cost - n, (*chosen, radial))


def _nmax(functions: list[tuple[OneParticle, ...]], totaldegree: int) -> tuple[int, ...]:
    largest = {0: totaldegree + EXTRA_RADIALS}
    for function in functions:
        for degree, _, n in function:
            largest[degree] = max(largest.get(degree, 0), n)
    return tuple(largest[degree] for degree in range(max(largest) + 1))


def _widths(nmax: tuple[int, ...], n_channels: tuple[int, ...]) -> list[int]:
    """Number of one-particle functions of each l."""
    return [
        z * n * (2 * degree + 1) for degree, (n, z) in enumerate(zip(nmax, n_channels, strict=True))
    ]


class _OneParticleIndex:
    """Position of A_(z,n,l,m): blocks of l, then channels, then n, then m."""

    def __init__(self, nmax: tuple[int, ...], n_channels: tuple[int, ...]) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(_widths(nmax, n_channels))])
        self._nmax = nmax

    def __call__(self, degree: int, z: int, n: int, m: int) -> int:
        row = z * self._nmax[degree] + n - 1
        return int(self._offsets[degree]) + row * (2 * degree + 1) + degree + m


class _Overlaps:
    """Expansion of products of radials in the radials themselves."""

    def __init__(self, totaldegree: int) -> None:
        self._n = totaldegree + EXTRA_RADIALS
        polynomials = many_body_polynomials(self._n)
        self._j = radials_on_nodes(polynomials)
        self._scale = sqrt(self._j.shape[1])

    def single_neighbour(self, function: tuple[OneParticle, ...]) -> np.ndarray:
        """Coefficients on A_(k 0 0) that cancel B of a lone neighbour of weight one."""
        product = np.prod([self._j[n - 1] for _, _, n in function], axis=0)
        overlaps = self._j @ product * self._scale ** (len(function) - 1)
        return -2 * sqrt(pi) * _along_one_direction(function) * overlaps


def _along_one_direction(function: tuple[OneParticle, ...]) -> float:
    """Angular part of B for a single neighbour."""
    ls = [degree for degree, _, _ in function]
    root_k = sqrt(_stabiliser(function))
    if len(ls) == 2:
        return root_k * sqrt(2 * ls[0] + 1) / (4 * pi)
    product = np.prod([sqrt((2 * degree + 1) / (4 * pi)) for degree in ls])
    return float(root_k * real_wigner_3j(*ls)[ls[0], ls[1], ls[2]] * product)


def _stabiliser(function: tuple[OneParticle, ...]) -> int:
    """Number of permutations that leave the multiset as it is."""
    return int(np.prod([factorial(c) for c in Counter(function).values()]))


def _real_terms(
    function: tuple[OneParticle, ...], index: _OneParticleIndex
) -> dict[tuple[int, ...], float]:
    terms: dict[tuple[int, ...], float] = defaultdict(float)
    root_k = sqrt(_stabiliser(function))
    if len(function) == 2:
        (degree, z1, n1), (_, z2, n2) = function
        for m in range(-degree, degree + 1):
            key = tuple(sorted((index(degree, z1, n1, m), index(degree, z2, n2, m))))
            terms[key] += root_k / sqrt(2 * degree + 1)
        return terms
    ls = [degree for degree, _, _ in function]
    coupling = real_wigner_3j(*ls)
    for place in np.argwhere(coupling):
        key = tuple(
            sorted(
                index(degree, z, n, int(m) - degree)
                for (degree, z, n), m in zip(function, place, strict=True)
            )
        )
        terms[key] += root_k * coupling[tuple(place)]
    return {key: coefficient for key, coefficient in terms.items() if abs(coefficient) > 1e-14}


def complex_terms(
    function: tuple[OneParticle, ...],
) -> dict[tuple[tuple[int, int, int, int], ...], float]:
    """A function of order 2 or 3, without purification, in complex one-particle functions.

    Coefficients by sorted multisets of (l, species, n, m); the harmonics have the phase of Condon
    and Shortley, so that ``Y_(l,-m)`` is (-1)^m times the conjugate of ``Y_lm``.
    """
    terms: dict[tuple[tuple[int, int, int, int], ...], float] = defaultdict(float)
    root_k = sqrt(_stabiliser(function))
    ls = [degree for degree, _, _ in function]
    if len(function) == 2:
        coupling = np.zeros((2 * ls[0] + 1, 2 * ls[0] + 1))
        for m in range(-ls[0], ls[0] + 1):
            coupling[ls[0] + m, ls[0] - m] = (-1) ** m / sqrt(2 * ls[0] + 1)
    else:
        coupling = wigner_3j(*ls)
    for place in np.argwhere(coupling):
        factors = zip(function, place, strict=True)
        key = tuple(sorted((*radial, int(m) - radial[0]) for radial, m in factors))
        terms[key] += root_k * coupling[tuple(place)]
    return terms


def _smoothness(function: tuple[OneParticle, ...], purification: Sequence[np.ndarray]) -> float:
    """d = sqrt(sum |C|^2 w^2), w = sum (n^4 + l^4 + |m|^4), over complex-m monomials."""
    total = sum(
        (c * sum(n**4 + degree**4 + m**4 for degree, _, n, m in key)) ** 2
        for key, c in complex_terms(function).items()
    )
    for coefficients in purification:
        k4 = np.arange(1, len(coefficients) + 1) ** 4.0
        total += float(np.sum((coefficients * k4) ** 2))
    return sqrt(total)
