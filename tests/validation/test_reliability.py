"""Scores of uncertainties against those of samples."""

import numpy as np
import pytest
from scipy.stats import norm

from ase_bayesel.surrogate.scales import LEVELS, HeldOut, Scale
from ase_bayesel.validation.reliability import binned, reliability

RNG = np.random.default_rng(3)
STD = np.exp(RNG.normal(size=4000))
ERRORS = 3.0 * STD * RNG.normal(size=4000)
HELD = HeldOut(ERRORS, STD, np.arange(4000))


def test_of_honest_deviations():
    found = reliability(HELD, Scale.of(HELD))
    assert found.raw_z == pytest.approx(3.0, rel=0.05)
    assert found.z == pytest.approx(1.0, rel=0.05)
    assert found.coverage == pytest.approx(LEVELS, abs=0.02)
    assert found.nll == pytest.approx(-norm.logpdf(ERRORS, scale=3.0 * STD).mean(), rel=0.02)


def test_crps_is_the_integral_over_thresholds():
    one = HeldOut(np.array([0.7]), np.array([0.4]), np.zeros(1, int))
    grid = np.linspace(-8, 8, 400001)
    squares = np.square(norm.cdf(grid, 0.7, 0.4) - (grid >= 0.0))
    assert reliability(one).crps == pytest.approx(np.trapezoid(squares, grid), rel=1e-4)


def test_scores_prefer_the_honest_scale():
    scores = [reliability(HELD, Scale(value)) for value in (1.0, 3.0, 9.0)]
    assert scores[1].nll < min(scores[0].nll, scores[2].nll)
    assert scores[1].crps < min(scores[0].crps, scores[2].crps)


def test_rows_that_vanish_by_symmetry_say_nothing():
    held = HeldOut(np.array([1.0, 0.0]), np.array([0.5, 1e-12]), np.array([0, 1]))
    assert reliability(held).n == 1
    assert reliability(HeldOut(np.zeros(0), np.zeros(0), np.zeros(0, int))) is None


def test_bins_rise_with_the_deviation():
    deviations, errors = binned(HELD, 8)
    assert len(deviations) == 8
    assert (np.diff(deviations) > 0).all()
    assert errors / deviations == pytest.approx(np.full(8, 3.0), rel=0.2)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="differ in number"):
        HeldOut(np.zeros(2), np.zeros(1), np.zeros(2, int))
