from itertools import product

import numpy as np
import pytest
from helpers.differences import assert_close
from scipy.spatial.transform import Rotation

from ase_bayesel.descriptors.ace.angular import real_wigner_3j, spherical_harmonics, wigner_3j

LMAX = 6
DEGREES = np.repeat(np.arange(LMAX + 1), 2 * np.arange(LMAX + 1) + 1)
EVEN_TRIPLES = [t for t in product(range(5), repeat=3) if sum(t) % 2 == 0]


def harmonics(vectors, lmax=LMAX):
    """Values and gradients at directions ``(k, 3)``."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return spherical_harmonics(unit.T.copy(), lmax)


def directions(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sphere_quadrature(n):
    """Points and weights that integrate harmonics up to degree 2n - 1 exactly."""
    z, wz = np.polynomial.legendre.leggauss(n)
    phi = 2 * np.pi * np.arange(2 * n) / (2 * n)
    rho = np.sqrt(1 - z**2)
    points = [[r * np.cos(p), r * np.sin(p), h] for r, h in zip(rho, z, strict=True) for p in phi]
    return np.array(points), np.repeat(wz, 2 * n) * np.pi / n


def test_orthonormal_on_the_sphere():
    points, weights = sphere_quadrature(LMAX + 2)
    values, _ = harmonics(points)
    np.testing.assert_allclose((values * weights) @ values.T, np.eye(len(values)), atol=1e-12)
    np.testing.assert_allclose(values[0], 1 / np.sqrt(4 * np.pi))


def test_addition_theorem():
    a, b = directions(20, 1), directions(20, 2)
    ya, yb = harmonics(a)[0], harmonics(b)[0]
    cosine = np.sum(a * b, axis=1)
    for degree in range(LMAX + 1):
        rows = slice(degree**2, (degree + 1) ** 2)
        legendre = np.polynomial.legendre.Legendre.basis(degree)(cosine)
        expected = (2 * degree + 1) / (4 * np.pi) * legendre
        np.testing.assert_allclose((ya[rows] * yb[rows]).sum(axis=0), expected, atol=1e-12)


def test_gradient_of_unnormalised_vectors():
    vectors = 1.7 * directions(15, 3)
    values, gradients = harmonics(vectors)
    unit = vectors.T / 1.7
    np.testing.assert_allclose(
        np.einsum("lck,ck->lk", gradients, unit), DEGREES[:, None] * values, atol=1e-12
    )
    tangential = (gradients - DEGREES[:, None, None] * values[:, None] * unit) / 1.7
    for axis, step in enumerate(1e-5 * np.eye(3)):
        difference = (harmonics(vectors + step)[0] - harmonics(vectors - step)[0]) / 2e-5
        np.testing.assert_allclose(tangential[:, axis], difference, atol=1e-8)


@pytest.mark.parametrize("pole", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
def test_finite_at_the_poles(pole):
    values, gradients = harmonics(np.array([pole]))
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()
    m = np.concatenate([np.arange(-k, k + 1) for k in range(LMAX + 1)])
    assert np.abs(values[m != 0]).max() < 1e-15


@pytest.mark.parametrize(("l1", "l2"), [(0, 0), (1, 1), (1, 2), (2, 2), (3, 2), (4, 3)])
def test_3j_orthogonality(l1, l2):
    for l3, other in product(range(abs(l1 - l2), l1 + l2 + 1), repeat=2):
        overlap = np.einsum("abc,abd->cd", wigner_3j(l1, l2, l3), wigner_3j(l1, l2, other))
        expected = np.eye(2 * l3 + 1) / (2 * l3 + 1) if l3 == other else 0.0
        np.testing.assert_allclose(overlap, expected * np.ones_like(overlap), atol=1e-14)


def test_3j_outside_the_triangle_is_zero():
    assert not wigner_3j(1, 1, 3).any()
    assert not real_wigner_3j(0, 2, 4).any()


def test_3j_of_l_l_0():
    for degree in range(5):
        signs = (-1.0) ** (degree - np.arange(-degree, degree + 1))
        expected = np.diag(signs)[:, ::-1] / np.sqrt(2 * degree + 1)
        np.testing.assert_allclose(wigner_3j(degree, degree, 0)[..., 0], expected, atol=1e-15)


@pytest.mark.parametrize("degrees", EVEN_TRIPLES)
def test_real_3j_couples_to_an_invariant(degrees):
    coupling = real_wigner_3j(*degrees)
    rotation = Rotation.random(rng=np.random.default_rng(5)).as_matrix()
    points = directions(3, 7)

    def coupled(points):
        values, _ = harmonics(points)
        blocks = [values[d**2 : (d + 1) ** 2, k] for k, d in enumerate(degrees)]
        return np.einsum("abc,a,b,c->", coupling, *blocks)

    assert coupled(points @ rotation.T) == pytest.approx(coupled(points), abs=1e-12)
    assert coupled(-points) == pytest.approx(coupled(points), abs=1e-12)
    if coupling.any():
        assert np.linalg.norm(coupling) == pytest.approx(1.0, abs=1e-12)
        complex_norm = np.linalg.norm(wigner_3j(*degrees))
        assert_close(complex_norm, 1.0, 1e-12)


def test_odd_sum_is_refused():
    with pytest.raises(ValueError, match="even"):
        real_wigner_3j(1, 1, 1)
