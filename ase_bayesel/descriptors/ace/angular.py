"""Real spherical harmonics with gradients, and real Wigner 3j symbols."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import factorial, pi, sqrt

import numpy as np

Polynomial = dict[tuple[int, int, int], float]
"""Coefficients of x^i y^j z^k by their exponents (i, j, k)."""


def spherical_harmonics(unit: np.ndarray, lmax: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal real spherical harmonics and their Cartesian gradients.

    The functions are homogeneous polynomials, evaluated as a constant matrix
    times all monomials up to degree lmax. Hence ``unit . gradient = l Y``; the
    gradient with respect to an unnormalised vector of length r is
    ``(gradient - l unit Y) / r``.

    Parameters
    ----------
    unit
        ``(3, k)`` unit vectors.
    lmax
        Highest degree.

    Returns
    -------
    ``((lmax+1)^2, k)`` values and ``((lmax+1)^2, 3, k)`` gradients; the row of
    (l, m) is ``l*l + l + m``. Y_00 = 1/sqrt(4 pi).
    """
    tables, found = harmonic_tables(lmax), monomials(unit, lmax)
    gradients = tables.gradients.reshape(-1, tables.gradients.shape[2])
    slopes = gradients @ found[: gradients.shape[1]]
    return tables.values @ found, slopes.reshape(-1, 3, unit.shape[1])


def monomials(unit: np.ndarray, lmax: int) -> np.ndarray:
    """All monomials x^i y^j z^k up to degree lmax at ``unit (3, k)``, in order of degree.

    Those of a degree are x times all of the degree before, then y times those of them
    without x, then z times the one without x and y.
    """
    found = np.empty((_n_monomials(lmax), unit.shape[1]))
    found[0] = 1.0
    before, start = 0, 1
    for degree in range(1, lmax + 1):
        factors = zip(unit, (before, start - degree, start - 1), strict=True)
        end = start
        for coordinate, first in factors:
            count = start - first
            np.multiply(found[first:start], coordinate, out=found[end : end + count])
            end += count
        before, start = start, end
    return found


def monomial_parents(lmax: int) -> np.ndarray:
    """``(n, 2)``: which monomial times which coordinate each of `monomials` is but the first."""
    parents, axes = [0], [0]
    before, start = 0, 1
    for degree in range(1, lmax + 1):
        for axis, first in enumerate((before, start - degree, start - 1)):
            parents += range(first, start)
            axes += [axis] * (start - first)
        before, start = start, len(parents)
    return np.stack([parents, axes], axis=1)


@dataclass(frozen=True)
class HarmonicTables:
    """The harmonics up to lmax and their gradients as linear maps of `monomials`.

    ``values (lm, n)``; ``gradients (lm, 3, n')`` need those of lower degree only.
    """

    values: np.ndarray
    gradients: np.ndarray


@cache
def harmonic_tables(lmax: int) -> HarmonicTables:
    """The tables of a degree; nobody changes them."""
    exponents = [(0, 0, 0)]
    last = exponents
    for _ in range(lmax):
        grown = [
            [_raised(powers, axis) for powers in last if not any(powers[:axis])]
            for axis in range(3)
        ]
        last = [powers for group in grown for powers in group]
        exponents = exponents + last
    place = {powers: k for k, powers in enumerate(exponents)}
    functions = _real_harmonics(lmax)
    values = np.zeros((len(functions), len(exponents)))
    gradients = np.zeros((len(functions), 3, _n_monomials(max(lmax - 1, 0))))
    for row, function in enumerate(functions):
        for powers, coefficient in function.items():
            values[row, place[powers]] = coefficient
            for axis in range(3):
                if powers[axis]:
                    column = place[_raised(powers, axis, -1)]
                    gradients[row, axis, column] += powers[axis] * coefficient
    return HarmonicTables(values, gradients)


def _n_monomials(degree: int) -> int:
    return (degree + 1) * (degree + 2) * (degree + 3) // 6


def _raised(powers: tuple[int, int, int], axis: int, by: int = 1) -> tuple[int, int, int]:
    i, j, k = (power + by * (axis == other) for other, power in enumerate(powers))
    return i, j, k


def _real_harmonics(lmax: int) -> list[Polynomial]:
    """Normalised homogeneous polynomials of all (l, m), rows as in `spherical_harmonics`."""
    x, y, z = {(1, 0, 0): 1.0}, {(0, 1, 0): 1.0}, {(0, 0, 1): 1.0}
    r2 = {(2, 0, 0): 1.0, (0, 2, 0): 1.0, (0, 0, 2): 1.0}
    cosines: list[Polynomial] = [{(0, 0, 0): 1.0}]
    sines: list[Polynomial] = [{}]
    for _ in range(lmax):
        cosine, sine = cosines[-1], sines[-1]
        cosines.append(_combine((1.0, _times(x, cosine)), (-1.0, _times(y, sine))))
        sines.append(_combine((1.0, _times(x, sine)), (1.0, _times(y, cosine))))
    legendre: dict[tuple[int, int], Polynomial] = {(0, 0): {(0, 0, 0): 1.0}}
    for m in range(lmax + 1):
        if m:
            legendre[m, m] = _combine((2.0 * m - 1.0, legendre[m - 1, m - 1]))
        for degree in range(m + 1, lmax + 1):
            terms = [((2.0 * degree - 1.0) / (degree - m), _times(z, legendre[degree - 1, m]))]
            if degree > m + 1:
                weight = -(degree + m - 1.0) / (degree - m)
                terms.append((weight, _times(r2, legendre[degree - 2, m])))
            legendre[degree, m] = _combine(*terms)
    return [
        _combine((_norm(degree, abs(m)), _times(legendre[degree, abs(m)], angular[abs(m)])))
        for degree in range(lmax + 1)
        for m in range(-degree, degree + 1)
        for angular in [sines if m < 0 else cosines]
    ]


def _times(first: Polynomial, second: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for (i, j, k), a in first.items():
        for (u, v, w), b in second.items():
            powers = (i + u, j + v, k + w)
            product[powers] = product.get(powers, 0.0) + a * b
    return product


def _combine(*terms: tuple[float, Polynomial]) -> Polynomial:
    total: Polynomial = {}
    for weight, polynomial in terms:
        for powers, coefficient in polynomial.items():
            total[powers] = total.get(powers, 0.0) + weight * coefficient
    return total


def _norm(degree: int, m: int) -> float:
    ratio = factorial(degree - m) / factorial(degree + m)
    norm = sqrt((2 * degree + 1) / (4 * pi) * ratio)
    return norm * sqrt(2) if m else norm


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    """Complex-basis Wigner 3j symbols (Racah's formula), of unit Frobenius norm.

    Shape ``(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)``; m runs from -l to l.
    """
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        return table
    f = factorial
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            m3 = -m1 - m2
            if abs(m3) > l3:
                continue
            first = max(0, l2 - l3 - m1, l1 - l3 + m2)
            last = min(l1 + l2 - l3, l1 - m1, l2 + m2)
            total = sum(
                (-1) ** t
                / (
                    f(t)
                    * f(l3 - l2 + t + m1)
                    * f(l3 - l1 + t - m2)
                    * f(l1 + l2 - l3 - t)
                    * f(l1 - t - m1)
                    * f(l2 - t + m2)
                )
                for t in range(first, last + 1)
            )
            size = f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
            table[m1 + l1, m2 + l2, m3 + l3] = (
                (-1) ** (l1 - l2 - m3) * sqrt(triangle * size) * total
            )
    return table


@cache
def real_wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    """Wigner 3j symbols in the basis of `spherical_harmonics`, for even l1 + l2 + l3.

    Real, of unit norm; the (0, 0, 0) entry equals the complex symbol's.
    """
    if (l1 + l2 + l3) % 2:
        raise ValueError(f"l1 + l2 + l3 must be even, got {(l1, l2, l3)}")
    coupled = np.einsum(
        "abc,ia,jb,kc->ijk",
        wigner_3j(l1, l2, l3),
        _complex_to_real(l1),
        _complex_to_real(l2),
        _complex_to_real(l3),
    )
    return np.where(np.abs(coupled.real) > 1e-14, coupled.real, 0.0)


def _complex_to_real(degree: int) -> np.ndarray:
    """Unitary U with Y_real = U Y_complex; rows and columns run over m = -l .. l."""
    u = np.zeros((2 * degree + 1, 2 * degree + 1), complex)
    u[degree, degree] = 1.0
    for m in range(1, degree + 1):
        sign = (-1) ** m
        u[degree + m, degree + m] = sign / sqrt(2)
        u[degree + m, degree - m] = 1 / sqrt(2)
        u[degree - m, degree + m] = -1j * sign / sqrt(2)
        u[degree - m, degree - m] = 1j / sqrt(2)
    return u
