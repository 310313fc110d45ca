import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel.surrogate.triangular import append_rows, merge


def rows(k, n, seed=0):
    return np.random.default_rng(seed).normal(size=(k, n))


@given(n=st.integers(1, 40), k=st.integers(0, 90), seed=st.integers(0, 1000))
def test_factor_of_stacked_rows(n, k, seed):
    first, second = rows(2 * n, n, seed), rows(k, n, seed + 1)
    factor = append_rows(append_rows(np.zeros((n, n)), first), second)
    stacked = np.concatenate([first, second])
    np.testing.assert_allclose(factor.T @ factor, stacked.T @ stacked, atol=1e-10)
    np.testing.assert_array_equal(factor, np.triu(factor))
    assert (np.diagonal(factor) >= 0).all()


@given(n=st.integers(1, 40), seed=st.integers(0, 1000))
def test_merge_equals_append(n, seed):
    first, second = (np.triu(rows(n, n, seed + k)) for k in range(2))
    np.testing.assert_allclose(merge(first, second), append_rows(first, second), atol=1e-10)


def test_input_is_left_alone():
    factor, more = np.eye(5), rows(3, 5)
    kept = factor.copy(), more.copy()
    append_rows(factor, more)
    merge(factor, factor)
    np.testing.assert_array_equal(factor, kept[0])
    np.testing.assert_array_equal(more, kept[1])


def test_read_only_and_strided_input():
    factor, more = np.eye(4), rows(4, 6).T[:, ::1]
    factor.flags.writeable = False
    expected = np.eye(4) + more.T @ more
    updated = append_rows(factor, more)
    np.testing.assert_allclose(updated.T @ updated, expected, atol=1e-12)


def test_condition_number_is_not_squared():
    """Columns from 1e-6 to 1e6: the normal equations would lose all digits of the small ones."""
    scale = np.logspace(-6, 6, 12)
    plain = rows(30, 12)
    factor = append_rows(np.zeros((12, 12)), plain * scale)
    expected = append_rows(np.zeros((12, 12)), plain)
    np.testing.assert_allclose(factor / scale, expected, atol=1e-12)


def test_rank_deficient_rows_leave_zeros():
    factor = append_rows(np.zeros((4, 4)), rows(2, 4))
    assert np.linalg.matrix_rank(factor) == 2


def test_wrong_width_raises():
    with pytest.raises(Exception, match=r"(?i)shape|dimension|size|dtpqrt"):
        append_rows(np.eye(3), np.ones((2, 4)))
