import numpy as np
import pytest
import torch
from scipy.special import jacobi

from ase_bayesel.descriptors.ace.radial import (
    AgnesiTransform,
    bond_length,
    chebyshev,
    many_body_polynomials,
    pair_envelope,
    pair_polynomials,
    radials_on_nodes,
    transform_with_derivative,
)


def midpoints(low, high, n=1000):
    return low + (high - low) * (np.arange(n) + 0.5) / n


def test_many_body_radials_are_orthonormal():
    j = radials_on_nodes(many_body_polynomials(20))
    np.testing.assert_allclose(j @ j.T, np.eye(20), atol=1e-10)


def test_many_body_polynomials_are_jacobi_polynomials():
    x = np.linspace(-0.9, 0.9, 7)
    ours = many_body_polynomials(8).evaluate(x)
    weight = (1 - midpoints(-1, 1, 100_000) ** 2) ** 4
    for n, values in enumerate(ours):
        exact = jacobi(n, 4, 4)
        norm = np.sqrt(np.mean(weight * exact(midpoints(-1, 1, 100_000)) ** 2))
        np.testing.assert_allclose(values, exact(x) / norm, rtol=0, atol=1e-4)


def test_pair_polynomials_are_orthonormal_on_their_range():
    low = AgnesiTransform(2.4, 1, 3)(5.0)
    assert low == pytest.approx(0.673956, abs=1e-6)
    p = pair_polynomials(19, low, 1.0).evaluate(midpoints(low, 1.0))
    np.testing.assert_allclose(p @ p.T / 1000, np.eye(19), atol=1e-8)
    np.testing.assert_allclose(p[0], 1.0)


@pytest.mark.parametrize(("p", "q"), [(2, 4), (1, 3)])
def test_transform_falls_from_one_with_steepest_slope_at_r0(p, q):
    r = torch.linspace(0.1, 6.0, 5901, dtype=torch.float64)
    x, slope = transform_with_derivative(r, torch.tensor(2.4, dtype=torch.float64), p, q)
    assert AgnesiTransform(2.4, p, q)(0.0) == 1.0
    assert (torch.diff(x) < 0).all()
    assert r[slope.abs().argmax()].item() == pytest.approx(2.4, abs=2e-3)
    np.testing.assert_allclose(slope[1:-1], (x[2:] - x[:-2]) / 2e-3, atol=1e-5)
    assert x[2300].item() == pytest.approx(AgnesiTransform(2.4, p, q)(2.4), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 27])
def test_chebyshev_polynomials(n):
    y = torch.linspace(-1.0, 1.0, 13, dtype=torch.float64)
    expected = np.cos(np.arange(n)[:, None] * np.arccos(y.numpy()))
    np.testing.assert_allclose(chebyshev(y.numpy(), n), expected, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 10, 27])
def test_chebyshev_matrix_gives_values_and_slopes(n):
    """On y in [-1, 1] with x in [0.6, 1], against the recursion and its differences."""
    basis = pair_polynomials(n, 0.6, 1.0)
    y = torch.linspace(-0.95, 0.95, 11, dtype=torch.float64)
    values, slopes = np.split(basis.chebyshev_matrix(0.6, 1.0) @ chebyshev(y.numpy(), n), 2)

    def recursion(y):
        return basis.evaluate(0.8 + 0.2 * y.numpy())

    np.testing.assert_allclose(values, recursion(y), atol=1e-10)
    difference = (recursion(y + 1e-5) - recursion(y - 1e-5)) / 2e-5
    np.testing.assert_allclose(slopes, difference, atol=1e-7 * (1 + np.abs(difference).max()))


def test_pair_envelope_vanishes_with_its_slope_at_the_cutoff():
    r = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.9999, 5.0], dtype=torch.float64)
    r0 = torch.tensor(2.4, dtype=torch.float64)
    value, slope = pair_envelope(r, r0, 5.0)
    assert value[-1].item() == pytest.approx(0.0, abs=1e-15)
    assert slope[-1].item() == pytest.approx(0.0, abs=1e-15)
    assert (value[:-1] > 0).all()
    difference = (pair_envelope(r + 1e-5, r0, 5.0)[0] - pair_envelope(r - 1e-5, r0, 5.0)[0]) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-8)


def test_bond_length_is_symmetric_and_tabulated_for_silicon():
    assert bond_length("Si", "Si") == 2.4
    assert bond_length("Si", "O") == bond_length("O", "Si")
    assert 1.3 < bond_length("Si", "O") < 2.4
