"""What is left of predicted errors after picks, and whether they are enough."""

import math

import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel import fit_surrogate
from ase_bayesel.selection.remaining import Left, error_floor, error_left, looked_at
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
