"""Real spherical harmonics with gradients, and real Wigner 3j symbols."""

from __future__ import annotations

from functools import cache
from math import factorial, pi, sqrt

import numpy as np
import torch


def spherical_harmonics(unit: torch.Tensor, lmax: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthonormal real spherical harmonics and their Cartesian gradients.

    The functions are homogeneous polynomials, so ``unit . gradient = l Y``; the
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
    x, y, z = unit
    k = unit.shape[1]
    values = torch.empty(((lmax + 1) ** 2, k), dtype=unit.dtype)
    gradients = torch.empty(((lmax + 1) ** 2, 3, k), dtype=unit.dtype)
    zero, one = torch.zeros_like(x), torch.ones_like(x)

    cosines, sines = [one], [zero]
    for _ in range(lmax):
        cosines.append(x * cosines[-1] - y * sines[-1])
        sines.append(x * sines[-1] + y * cosines[-2])

    legendre = _scaled_legendre(z, lmax)

    def q(degree: int, order: int) -> torch.Tensor:
        return legendre.get((degree, order), zero)

    for degree in range(lmax + 1):
        for m in range(degree + 1):
            norm = _norm(degree, m)
            radial = norm * q(degree, m)
            radial_xy = norm * q(degree - 1, m + 1)
            radial_z = norm * (degree + m) * q(degree - 1, m)
            for sign, along in ((1, cosines), (-1, sines)):
                if m == 0 and sign < 0:
                    continue
                row = degree * degree + degree + sign * m
                angular = along[m]
                values[row] = radial * angular
                if m:
                    d_x, d_y = along[m - 1], (sines if sign > 0 else cosines)[m - 1]
                    gradients[row, 0] = radial_xy * x * angular + m * radial * d_x
                    gradients[row, 1] = radial_xy * y * angular - sign * m * radial * d_y
                else:
                    gradients[row, 0] = radial_xy * x
                    gradients[row, 1] = radial_xy * y
                gradients[row, 2] = radial_z * angular
    return values, gradients


def _scaled_legendre(z: torch.Tensor, lmax: int) -> dict[tuple[int, int], torch.Tensor]:
    """Associated Legendre functions over r^(-m) sin^m on unit vectors, without normalisation."""
    q: dict[tuple[int, int], torch.Tensor] = {(0, 0): torch.ones_like(z)}
    for m in range(lmax + 1):
        if m:
            q[m, m] = -(2 * m - 1) * q[m - 1, m - 1]
        if m < lmax:
            q[m + 1, m] = (2 * m + 1) * z * q[m, m]
        for degree in range(m + 2, lmax + 1):
            q[degree, m] = (
                (2 * degree - 1) * z * q[degree - 1, m] - (degree + m - 1) * q[degree - 2, m]
            ) / (degree - m)
    return q


def _norm(degree: int, m: int) -> float:
    ratio = factorial(degree - m) / factorial(degree + m)
    norm = (-1) ** m * sqrt((2 * degree + 1) / (4 * pi) * ratio)
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
