import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import Ramp
from ase_bayesel.dynamics.schedules import value_at, values_of

values = st.floats(-1e6, 1e6)
ramps = st.dictionaries(st.integers(0, 10**6), values, min_size=1, max_size=6).map(
    lambda points: Ramp(tuple(sorted(points.items())))
)


@given(ramps, st.integers(-10, 2 * 10**6))
def test_a_ramp_is_linear_interpolation(ramp, step):
    steps, heights = np.array(ramp.points, float).T
    expected = np.interp(step, steps, heights)
    assert ramp.at(step) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert min(values_of(ramp)) - 1e-6 <= ramp.at(step) <= max(values_of(ramp)) + 1e-6


@given(ramps)
def test_a_ramp_goes_through_its_points(ramp):
    assert [value_at(ramp, step) for step, _ in ramp.points] == list(values_of(ramp))


def test_a_constant():
    assert value_at(300, 12) == 300.0
    assert values_of(300) == (300.0,)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ((), "at least one"),
        (((10, 1.0), (10, 2.0)), "increase"),
        (((10, 1.0), (0, 2.0)), "increase"),
        (((0, float("nan")),), "finite"),
    ],
)
def test_what_is_no_ramp(points, words):
    with pytest.raises(ValueError, match=words):
        Ramp(points)
