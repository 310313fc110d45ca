import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve

from ase_bayesel import Posterior
from ase_bayesel.errors import PosteriorError, SingularPrecisionError

D = 30
PRIOR_STD = np.linspace(0.5, 2.0, D)


def rows(k, seed=0, d=D):
    return np.random.default_rng(seed).normal(size=(k, d))


def dense_covariance(a, prior_std=PRIOR_STD):
    return np.linalg.inv(a.T @ a + np.diag(prior_std**-2.0))


@pytest.fixture
def prior():
    return Posterior.from_prior(PRIOR_STD)


@pytest.fixture
def posterior(prior):
    """Conditioned on 20 rows and targets."""
    return prior.condition(rows(20), rows(20, 1)[:, 0])


def test_prior(prior):
    assert prior.n_features == D
    np.testing.assert_allclose(prior.variance(np.eye(D)), PRIOR_STD**2)
    assert prior.logdet == pytest.approx(-2 * np.log(PRIOR_STD).sum())
    np.testing.assert_allclose(
        Posterior.isotropic(4, 3.0).variance(np.eye(4)), np.full(4, 9.0), rtol=1e-14
    )


@given(k=st.integers(1, 60), seed=st.integers(0, 1000))
def test_variance_against_the_dense_inverse(k, seed):
    a, probe = rows(k, seed), rows(7, seed + 1)
    posterior = Posterior.from_prior(PRIOR_STD).condition(a)
    sigma = dense_covariance(a)
    expected = np.einsum("kd,de,ke->k", probe, sigma, probe)
    np.testing.assert_allclose(posterior.variance(probe), expected, rtol=1e-10)
    product, variance = posterior.covariance_times(probe[0])
    np.testing.assert_allclose(product, sigma @ probe[0], atol=1e-11)
    assert variance == pytest.approx(expected[0], rel=1e-10)
    assert np.ndim(posterior.variance(probe[0])) == 0
    assert posterior.variance(probe[0]) == pytest.approx(expected[0], rel=1e-10)


def test_many_single_updates_equal_one_batch(prior):
    a, probe = rows(200, 3), rows(50, 4)
    batch = prior.condition(a)
    single = prior
    for row in a:
        single = single.condition(row)
    expected = batch.variance(probe)
    assert np.abs(single.variance(probe) / expected - 1).max() < 1e-8
    assert single.logdet == pytest.approx(batch.logdet, rel=1e-10)


def test_targets_against_the_normal_equations(prior):
    a, y = rows(45, 5), rows(45, 6)[:, 0]
    expected = solve(a.T @ a + np.diag(PRIOR_STD**-2.0), a.T @ y)
    at_once = prior.condition(a, y)
    np.testing.assert_allclose(at_once.mean, expected, atol=1e-11)
    in_parts = prior.condition(a[:1], y[0]).condition(a[1:20], y[1:20]).condition(a[20:], y[20:])
    np.testing.assert_allclose(in_parts.mean, expected, atol=1e-11)
    np.testing.assert_allclose(in_parts.precision_factor, at_once.precision_factor, atol=1e-11)


def test_without_targets_the_mean_stays(posterior):
    more = rows(3, 8)
    silent = posterior.condition(more)
    np.testing.assert_array_equal(silent.mean, posterior.mean)
    predicted = posterior.condition(more, more @ posterior.mean)
    np.testing.assert_allclose(predicted.mean, posterior.mean, atol=1e-12)
    np.testing.assert_allclose(predicted.precision_factor, silent.precision_factor, atol=1e-12)
    assert (silent.variance(more) < posterior.variance(more)).all()


@pytest.mark.parametrize("k", [1, 5, D, 70])
def test_information_gain_is_the_growth_of_logdet(posterior, k):
    more = rows(k, 9)
    grown = posterior.condition(more).logdet - posterior.logdet
    assert posterior.information_gain(more) == pytest.approx(grown, rel=1e-10)


def test_logdet_against_the_dense_determinant(prior):
    a = rows(40, 2)
    expected = -np.linalg.slogdet(dense_covariance(a))[1]
    assert prior.condition(a).logdet == pytest.approx(expected, rel=1e-12)


def test_no_rows_change_nothing(posterior):
    same = posterior.condition(np.zeros((0, D)))
    np.testing.assert_array_equal(same.precision_factor, posterior.precision_factor)
    assert posterior.information_gain(np.zeros((0, D))) == 0.0
    assert posterior.variance(np.zeros((0, D))).shape == (0,)


def test_samples_have_the_mean_and_covariance(posterior):
    samples = posterior.sample(40_000, np.random.default_rng(0))
    sigma = dense_covariance(rows(20))
    deviation = np.sqrt(np.diagonal(sigma))
    assert samples.shape == (40_000, D)
    error = (samples.mean(axis=0) - posterior.mean) / deviation * np.sqrt(40_000)
    assert np.abs(error).max() < 4.5
    correlation = np.cov(samples.T) / np.outer(deviation, deviation)
    expected = sigma / np.outer(deviation, deviation)
    np.testing.assert_allclose(correlation, expected, atol=4.5 * np.sqrt(2 / 40_000))


def test_samples_are_reproducible(posterior):
    first, second = (posterior.sample(3, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_ill_scaled_columns():
    """Columns from 1e-6 to 1e6 give the variances of the columns of order one."""
    scale = np.logspace(-6, 6, D)
    a, y, probe = rows(60, 1), rows(60, 2)[:, 0], rows(5, 3)
    plain = Posterior.from_prior(PRIOR_STD).condition(a, y)
    scaled = Posterior.from_prior(PRIOR_STD / scale).condition(a * scale, y)
    np.testing.assert_allclose(scaled.variance(probe * scale), plain.variance(probe), rtol=1e-10)
    np.testing.assert_allclose(scaled.mean * scale, plain.mean, rtol=1e-8, atol=1e-10)


def test_saved_bit_for_bit(posterior, tmp_path):
    for file in (tmp_path / "a.npz", str(tmp_path / "b.npz")):
        posterior.save(file)
        again = Posterior.load(file)
        assert again.precision_factor.tobytes() == posterior.precision_factor.tobytes()
        assert again.mean.tobytes() == posterior.mean.tobytes()
        assert again.variance(rows(4)).tobytes() == posterior.variance(rows(4)).tobytes()


def test_saved_under_the_very_name(posterior, tmp_path):
    posterior.save(tmp_path / "posterior")
    assert Posterior.load(tmp_path / "posterior").logdet == posterior.logdet


def test_saved_to_a_buffer(posterior):
    buffer = io.BytesIO()
    posterior.save(buffer)
    buffer.seek(0)
    assert Posterior.load(buffer).logdet == posterior.logdet


def test_damaged_files(posterior, tmp_path):
    path = tmp_path / "posterior.npz"
    with pytest.raises(PosteriorError, match=r"posterior\.npz"):
        Posterior.load(path)
    posterior.save(path)
    content = path.read_bytes()
    for damaged in (b"", b"nonsense", content[: len(content) // 2], content[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(PosteriorError, match=r"posterior\.npz"):
            Posterior.load(path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(PosteriorError):
        Posterior.load(path)


def test_files_of_something_else(tmp_path):
    np.savez(tmp_path / "other.npz", mean=np.ones(3))
    np.savez(tmp_path / "format.npz", format="other/1", mean=np.ones(1))
    np.save(tmp_path / "array.npy", np.ones(3))
    for name in ("other.npz", "format.npz", "array.npy"):
        with pytest.raises(PosteriorError, match=name):
            Posterior.load(tmp_path / name)


def test_immutable(posterior):
    with pytest.raises(AttributeError):
        posterior.mean = np.zeros(D)
    for array in (posterior.mean, posterior.precision_factor):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    factor, mean = posterior.precision_factor.copy(), posterior.mean.copy()
    posterior.condition(rows(5, 1), rows(5, 2)[:, 0])
    posterior.condition(rows(5, 1))
    np.testing.assert_array_equal(posterior.precision_factor, factor)
    np.testing.assert_array_equal(posterior.mean, mean)


def test_rows_and_targets_that_do_not_fit(posterior):
    calls = (posterior.condition, posterior.variance, posterior.information_gain, posterior.whiten)
    for call in calls:
        with pytest.raises(PosteriorError, match=r"\(k, 30\)"):
            call(np.ones((2, D + 1)))
        with pytest.raises(PosteriorError, match="not finite"):
            call(np.where(np.arange(D) == 3, np.nan, rows(2)))
    with pytest.raises(PosteriorError):
        posterior.condition(np.ones((2, 2, D)))
    for wrong in (np.ones(3), np.array([1.0, np.nan]), np.array([np.inf, 1.0])):
        with pytest.raises(PosteriorError, match="2 finite"):
            posterior.condition(rows(2), wrong)


@pytest.mark.parametrize("std", [[1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0], [[1.0]]])
def test_bad_priors(std):
    with pytest.raises(PosteriorError, match="prior_std"):
        Posterior.from_prior(np.array(std))


def test_mean_that_is_not_finite_is_refused():
    with pytest.raises(PosteriorError):
        Posterior(np.eye(2), np.array([0.0, np.nan]))


def test_singular_precision():
    for factor in (np.diag([1.0, 0.0]), np.array([[1.0, 1.0], [0.0, 1e-15]])):
        with pytest.raises(SingularPrecisionError):
            Posterior(factor, np.zeros(2))
    wide = Posterior.isotropic(2, 1e9)
    with pytest.raises(SingularPrecisionError, match="narrower prior"):
        wide.condition(1e6 * np.ones((3, 2)))
    with pytest.raises(PosteriorError, match="not finite"):
        Posterior(np.array([[1.0, np.nan], [0.0, 1.0]]), np.zeros(2))
    with pytest.raises(PosteriorError, match="fit together"):
        Posterior(np.eye(3), np.zeros(2))


def test_sigma_against_a_committee_of_plain_rows(posterior):
    """Standard deviation of a scalar and length of a vector's deviation, 10,000 members."""
    members = posterior.sample(10_000, np.random.default_rng(1))
    probe = rows(6, 11)
    spread = (members @ probe.T).std(axis=0)
    np.testing.assert_allclose(np.sqrt(posterior.variance(probe)), spread, rtol=0.03)
