"""Radial functions of the linear ACE basis (ACEpotentials v0.6 conventions).

Many-body functions J_n(r) = (1 - x^2)^2 p_{n-1}(x) on the Agnesi coordinate
x(r) mapped to [-1, 1], and pair functions env(r) P_n(x). Both polynomial
families are orthonormal under a discrete measure, so they are evaluated by
their own three-term recursion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii

N_QUADRATURE = 1000
BOND_LENGTHS = {"Si": 2.4}
"""Bond lengths (A) that ACE1x tabulates; for other elements see `bond_length`."""


def bond_length(first: str, second: str) -> float:
    """Default length scale r0 of a pair of elements, A.

    The mean of two per-element lengths: ACE1x's tabulated value where this
    package has it (Si), otherwise twice the covalent radius.
    """

    def of_element(symbol: str) -> float:
        return BOND_LENGTHS.get(symbol, 2.0 * float(covalent_radii[atomic_numbers[symbol]]))

    return (of_element(first) + of_element(second)) / 2.0


def length_scales(
    elements: Sequence[str], r0: Mapping[tuple[str, ...], float]
) -> dict[tuple[int, int], float]:
    """Length scale (A) of each pair of elements a <= b, numbered in their order.

    ``r0`` where it has the pair, in either order; else `bond_length`.
    """
    scales = {}
    for a, b in combinations_with_replacement(range(len(elements)), 2):
        pair = (elements[a], elements[b])
        scales[a, b] = r0.get(pair, r0.get(pair[::-1], bond_length(*pair)))
    return scales


@dataclass(frozen=True)
class AgnesiTransform:
    """x(r) = 1 / (1 + a s^q / (1 + s^(q-p))), s = r / r0, falling from 1 at r = 0.

    The constant a puts the steepest slope at r0. Requires ``q > p``.
    """

    r0: float
    p: int
    q: int

    @property
    def a(self) -> float:
        """The constant that puts the steepest slope at r0."""
        p, q = self.p, self.q
        return (-2 * q + p * (4 * q - 2)) / (p + p**2 + q + q**2)

    def __call__(self, r: float) -> float:
        s = r / self.r0
        return 1.0 / (1.0 + self.a * s**self.q / (1.0 + s ** (self.q - self.p)))


def transform_with_derivative(r: Any, r0: Any, p: int, q: int) -> tuple[Any, Any]:
    """Agnesi coordinate x and its derivative dx/dr, 1/A, of each distance.

    Parameters
    ----------
    r
        Distances, positive, A; an array, or whatever knows the same arithmetic.
    r0
        Length scale that belongs to each, or one for all, A.
    p, q
        Exponents of `AgnesiTransform`.
    """
    a = AgnesiTransform(1.0, p, q).a
    s = r / r0
    s_p = _power(s, q - p)
    denominator = 1.0 + s_p
    ratio = a * _power(s, q) / denominator
    x = 1.0 / (1.0 + ratio)
    dratio = ratio / s * (q - (q - p) * s_p / denominator)
    return x, -x * x * dratio / r0


def _power(s: Any, n: int) -> Any:
    """s^n by products, which cost less than powers."""
    if n == 1:
        return s
    half = _power(s, n // 2)
    return half * half * s if n % 2 else half * half


@dataclass(frozen=True)
class OrthonormalPolynomials:
    """Polynomials p_0 .. p_{n-1}, orthonormal under a discrete measure.

    p_{k+1} = ((x - a_k) p_k - b_k p_{k-1}) / b_{k+1}, p_0 = 1 / b_0.

    ``a`` is ``(n,)`` and ``b`` is ``(n,)``.
    """

    a: np.ndarray
    b: np.ndarray

    @classmethod
    def from_measure(cls, n: int, nodes: np.ndarray, weights: np.ndarray) -> OrthonormalPolynomials:
        """Stieltjes procedure for ``n`` polynomials on ``nodes (k,)`` with ``weights (k,)``."""
        a, b = np.zeros(n), np.zeros(n)
        b[0] = np.sqrt(weights.sum())
        previous, current = np.zeros_like(nodes), np.full_like(nodes, 1.0 / b[0])
        for k in range(n):
            a[k] = np.sum(weights * nodes * current**2)
            if k + 1 == n:
                break
            raw = (nodes - a[k]) * current - (b[k] if k else 0.0) * previous
            b[k + 1] = np.sqrt(np.sum(weights * raw**2))
            previous, current = current, raw / b[k + 1]
        return cls(a, b)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Values at points ``x (k,)`` as ``(n, k)``, by the recursion."""
        values = np.empty((len(self.a), len(x)))
        values[0] = 1.0 / self.b[0]
        for k in range(1, len(values)):
            raw = (x - self.a[k - 1]) * values[k - 1]
            if k > 1:
                raw -= self.b[k - 1] * values[k - 2]
            values[k] = raw / self.b[k]
        return values

    def chebyshev_matrix(self, low: float, high: float) -> np.ndarray:
        """``(2 n, n)``: the polynomials and their d/dy from Chebyshev polynomials of y.

        y runs from -1 to 1 as x runs from ``low`` to ``high``.
        """
        n = len(self.a)
        nodes = np.polynomial.chebyshev.chebpts1(n)
        basis = np.polynomial.chebyshev.chebvander(nodes, n - 1)
        values = self.evaluate(low + (high - low) * (nodes + 1.0) / 2.0)
        coefficients = np.linalg.solve(basis, values.T).T
        slopes = np.zeros_like(coefficients)
        slopes[:, : max(n - 1, 1)] = np.polynomial.chebyshev.chebder(coefficients, axis=1)
        return np.concatenate([coefficients, slopes])


def with_envelope(matrix: np.ndarray) -> np.ndarray:
    """``(2 n, n + 1)`` from a `chebyshev_matrix` of polynomials p of y.

    Rows are p, and (1 - y^2) p' - 4 y p, so that J = (1 - y^2)^2 p has the slope
    dJ/dy = (1 - y^2) times these.
    """
    n = matrix.shape[1]
    rows = np.zeros((2 * n, n + 1))
    rows[:n, :n] = matrix[:n]
    for k in range(n):
        inside = np.polynomial.chebyshev.chebmul(matrix[n + k], [0.5, 0.0, -0.5])
        outside = np.polynomial.chebyshev.chebmul(matrix[k], [0.0, 4.0])
        row: np.ndarray = np.polynomial.chebyshev.chebsub(inside, outside)[: n + 1]
        rows[n + k, : len(row)] = row
    return rows


def chebyshev(y: np.ndarray, n: int) -> np.ndarray:
    """T_0 .. T_(n-1) at points ``y (k,)`` as ``(n, k)``, by T_(m+j) = 2 T_m T_j - T_(m-j)."""
    t = np.empty((max(n, 2), len(y)))
    t[0], t[1] = 1.0, y
    known = 1
    while known + 1 < n:
        count = min(known, n - 1 - known)
        new = t[known + 1 : known + 1 + count]
        np.multiply(t[1 : count + 1], 2.0 * t[known], out=new)
        new -= t[known - count : known][::-1]
        known += count
    return t[:n]


def many_body_polynomials(n: int) -> OrthonormalPolynomials:
    """p_0 .. p_{n-1} such that J_n = (1-x^2)^2 p_{n-1} are orthonormal.

    The inner product is the mean over midpoints of [-1, 1].
    """
    nodes = _midpoints(-1.0, 1.0)
    return OrthonormalPolynomials.from_measure(n, nodes, (1 - nodes**2) ** 4 / N_QUADRATURE)


def pair_polynomials(n: int, x_min: float, x_max: float) -> OrthonormalPolynomials:
    """P_1 .. P_n, orthonormal under the mean over midpoints of [x_min, x_max]."""
    nodes = _midpoints(x_min, x_max)
    return OrthonormalPolynomials.from_measure(n, nodes, np.full(N_QUADRATURE, 1.0 / N_QUADRATURE))


def radials_on_nodes(polynomials: OrthonormalPolynomials) -> np.ndarray:
    """J_1 .. J_n on the quadrature nodes, ``(n, 1000)``; inner products are plain dots."""
    nodes = _midpoints(-1.0, 1.0)
    return polynomials.evaluate(nodes) * (1 - nodes**2) ** 2 / np.sqrt(N_QUADRATURE)


def pair_envelope(r: Any, r0: Any, cutoff: float) -> tuple[Any, Any]:
    """env = s^-2 - s_c^-2 + 2 s_c^-3 (s - s_c) and its derivative; both vanish at the cutoff."""
    inverse, inverse_c = r0 / r, r0 / cutoff
    square, square_c = inverse * inverse, inverse_c * inverse_c
    cube_c = 2.0 * square_c * inverse_c
    value = square - square_c + cube_c * (r / r0 - cutoff / r0)
    slope = (-2.0 * square * inverse + cube_c) / r0
    return value, slope


def _midpoints(low: float, high: float) -> np.ndarray:
    return low + (high - low) * (np.arange(N_QUADRATURE) + 0.5) / N_QUADRATURE
