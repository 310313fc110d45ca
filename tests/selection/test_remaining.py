"""What is left of predicted errors after picks, and whether they are enough."""

import math

import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel import fit_surrogate
from ase_bayesel.errors import SingularPrecisionError
from ase_bayesel.selection.remaining import (
    HalvesTest,
    Left,
    error_floor,
    error_left,
    halves_test,
    looked_at,
)
from ase_bayesel.surrogate.calibration import calibrated


def curve(errors, counts=None, floor=0.0):
    counts = range(len(errors)) if counts is None else counts
    return Left(np.array([*counts]), np.array(errors, float), 0.1, floor, 9)


@pytest.mark.parametrize(
    ("left", "enough"),
    [
        (curve([10.0, 5.0, 2.0, 1.99, 1.985]), 2),
        (curve([10.0, 5.0, 4.99, 3.0]), None),
        (curve([10.0, 9.0, 4.0, 3.99]), 2),
        (curve([1000.0, 20.0, 10.0, 9.0]), None),  # the first has told the most, not enough
        (curve([10.0, 5.0, 4.6], (0, 1, 11)), 1),
        (curve([10.0, 5.0, 4.0], (0, 1, 11)), None),
        (curve([1.0, 1.0, 1.0]), 0),
        (curve([1.0]), None),
    ],
)
def test_enough_is_where_each_further_pick_gains_little(left, enough):
    assert left.enough() == enough


@pytest.mark.parametrize(
    ("power", "n", "number"), [(0.5, 20, 50), (0.67, 20, 70), (2.0, 8, 200), (0.5, 3, None)]
)
def test_how_many_would_be_enough_by_the_power_of_the_fall(power, n, number):
    """At n picks an error that falls as n^-p gains a share p / n with each."""
    counts = np.arange(1, n + 1)
    falling = curve([3.0, *3.0 * counts**-power], [0, *counts])
    assert falling.extrapolated() == number
    assert curve([10.0, 5.0, 2.0, 1.99, 1.985, 1.984]).extrapolated() is None


def test_what_errors_may_be_after_a_number_of_picks():
    tested = HalvesTest(3.0, 10)
    found = tested.most(np.array([8.0, 4.0, 2.0, 1.0]), np.array([0, 4, 10, 30]))
    assert found == pytest.approx([8.0, 4.0 * 3.0 ** np.log2(1.4), 6.0, 8.0])


def test_forecasts_are_tried_from_half_of_the_core_to_the_whole(cu_ace):
    core = copper_training()
    e0s = fit_surrogate(core, cu_ace).e0s
    alone = np.array([cu_ace.compute([atoms])[0].total for atoms in core])
    sizes = np.array([*map(len, core)])

    def fit(frames):
        return calibrated(fit_surrogate(frames, cu_ace, e0s=e0s), frames)

    def said(known):
        deviations = [known.energy_std(atoms) / len(atoms) for atoms in core]
        return known.scales.energy.value * np.mean(deviations)

    whole = fit(core)
    ratios = [
        said(whole) / said(fit(half).condition(other))
        for half, other in ((core[::2], core[1::2]), (core[1::2], core[::2]))
    ]
    found = halves_test(fit, whole, core, alone, sizes)
    assert found.n_core == len(core)
    assert found.factor == pytest.approx(max(1.0, min(ratios)))
    assert halves_test(fit, whole, core[:3], alone, sizes) is None

    def fails(frames):
        raise SingularPrecisionError("too few")

    assert halves_test(fails, whole, core, alone, sizes) is None


def test_shares_of_the_fall():
    assert np.allclose(curve([10.0, 6.0, 4.0], floor=2.0).shares(), [0.0, 0.5, 0.75])


def test_few_of_a_large_pool_are_looked_at():
    assert looked_at(7).tolist() == [*range(7)]
    some = looked_at(123_456)
    assert len(some) == 1000
    assert some[[0, -1]].tolist() == [0, 123_455]


def test_errors_are_those_of_a_surrogate_that_knows_the_picks(cu_ace):
    core = copper_training()
    surrogate = calibrated(fit_surrogate(core, cu_ace), core)
    pool = [copper(k, std=0.04 * k) for k in range(1, 9)]
    rows = np.array([cu_ace.compute([atoms])[0].total for atoms in pool])
    sizes = np.array([*map(len, pool)])
    picks = pool[5:8]
    floor = error_floor(surrogate, picks, rows, sizes)
    left = error_left(surrogate, picks, rows, sizes, floor)
    scale = surrogate.scales.energy
    assert left.counts.tolist() == [0, 1, 2, 3]
    for count, error in zip(left.counts, left.errors, strict=True):
        known = surrogate.condition(picks[:count])
        deviations = [known.energy_std(atoms) / len(atoms) for atoms in pool]
        assert np.isclose(error, scale.value * np.mean(deviations))
    assert (np.diff(left.errors) < 0).all()
    assert 0 < floor < left.errors[-1]
    assert math.isclose(left.relative_error, scale.error / scale.value)
