import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ase_bayesel.surrogate.evidence import maximise_evidence, stacked_triangle
from ase_bayesel.surrogate.triangular import append_rows

BOUNDS = {"energy": (1e-6, 1e3), "forces": (1e-6, 1e3)}
START = {"energy": 1.0, "forces": 1.0}
TRUE_NOISE = {"energy": 0.05, "forces": 0.4}
TRUE_PRIOR = 2.0


def drawn(counts, noise):
    """Rows and targets of each property, drawn from the model itself."""
    rng = np.random.default_rng(3)
    theta = TRUE_PRIOR * rng.standard_normal(12)
    out = {}
    for name, k in counts.items():
        rows = rng.standard_normal((k, 12))
        out[name] = (rows, rows @ theta + noise[name] * rng.standard_normal(k))
    return out


@pytest.fixture(scope="module")
def data():
    return drawn({"energy": 60, "forces": 400}, TRUE_NOISE)


@pytest.fixture(scope="module")
def noisy_data():
    """So much noise that the prior decides about as much as the data."""
    return drawn({"energy": 30, "forces": 30}, {"energy": 6.0, "forces": 12.0})


def triangles(data):
    return {
        name: append_rows(np.zeros((13, 13)), np.column_stack([rows, targets]))
        for name, (rows, targets) in data.items()
    }


def maximised(data, **options):
    counts = {name: len(targets) for name, (_, targets) in data.items()}
    options = {"start": START, "noise_bounds": BOUNDS} | options
    return maximise_evidence(triangles(data), counts, **options)


def dense_log_evidence(data, prior_std, noise):
    """log N(y; 0, s^2 A A^T + noise^2), the definition."""
    rows = np.concatenate([a for a, _ in data.values()])
    targets = np.concatenate([y for _, y in data.values()])
    variances = np.concatenate([np.full(len(y), noise[p] ** 2) for p, (_, y) in data.items()])
    covariance = prior_std**2 * rows @ rows.T + np.diag(variances)
    return multivariate_normal(np.zeros(len(targets)), covariance).logpdf(targets)


def test_value_is_the_marginal_likelihood(data):
    found = maximised(data)
    expected = dense_log_evidence(data, found.prior_std, found.noise)
    assert found.log_evidence == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("which", ["data", "noisy_data"])
def test_optimum_beats_its_neighbours(which, request):
    data = request.getfixturevalue(which)
    found = maximised(data)
    best = dense_log_evidence(data, found.prior_std, found.noise)
    for factor in (0.9, 0.97, 1.03, 1.1):
        assert dense_log_evidence(data, factor * found.prior_std, found.noise) < best
        for name in found.noise:
            noise = {**found.noise, name: factor * found.noise[name]}
            assert dense_log_evidence(data, found.prior_std, noise) < best


def test_recovers_the_noise_that_was_put_in(data):
    found = maximised(data)
    assert found.noise["energy"] == pytest.approx(TRUE_NOISE["energy"], rel=0.25)
    assert found.noise["forces"] == pytest.approx(TRUE_NOISE["forces"], rel=0.1)
    assert found.prior_std == pytest.approx(TRUE_PRIOR, rel=0.6)


@pytest.mark.parametrize("start", [1e-4, 1e2])
def test_start_does_not_matter(data, start):
    found, other = maximised(data), maximised(data, start=dict.fromkeys(START, start))
    assert other.log_evidence == pytest.approx(found.log_evidence, abs=1e-2)
    assert other.noise == pytest.approx(found.noise, rel=1e-2)


def test_bounds_are_kept(data):
    bounds = {"energy": (0.2, 1.0), "forces": (1e-3, 0.1)}
    found = maximised(data, noise_bounds=bounds, prior_bounds=(1e-3, 0.5))
    assert found.noise["energy"] == pytest.approx(0.2)
    assert found.noise["forces"] == pytest.approx(0.1)
    assert found.prior_std == pytest.approx(0.5)


def test_perfect_data_stop_at_the_lower_bound():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 12))
    perfect = {"energy": (rows, rows @ rng.standard_normal(12))}
    found = maximised(perfect, noise_bounds={"energy": (1e-3, 10.0)})
    assert found.noise["energy"] == pytest.approx(1e-3, rel=1e-3)


def test_fewer_rows_than_coefficients(data):
    few = {"energy": tuple(part[:5] for part in data["energy"])}
    found = maximised(few)
    expected = dense_log_evidence(few, found.prior_std, found.noise)
    assert found.log_evidence == pytest.approx(expected, rel=1e-6)


def test_stacked_triangle_is_the_posterior_system(data):
    stacked = stacked_triangle(triangles(data), TRUE_NOISE, TRUE_PRIOR)
    expected = np.eye(12) / TRUE_PRIOR**2
    right = np.zeros(12)
    for name, (rows, targets) in data.items():
        expected = expected + rows.T @ rows / TRUE_NOISE[name] ** 2
        right = right + rows.T @ targets / TRUE_NOISE[name] ** 2
    factor = stacked[:-1, :-1]
    np.testing.assert_allclose(factor.T @ factor, expected, rtol=1e-10)
    np.testing.assert_allclose(factor.T @ stacked[:-1, -1], right, rtol=1e-10)
