"""Which frame is picked, as a state machine; campaigns of walkers are in ``campaign``."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.structures import copper, copper_training
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    EnergyTrigger,
    Guards,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.dynamics.triggers import PickRule, PickState, TriggerReport
from ase_bayesel.surrogate.design import Noise

START = copper(1, 0.02, repeat=(1, 1, 2))
VALUES = st.lists(st.one_of(st.none(), st.floats(0.1, 3.0)), max_size=40)


def report(value, threshold=1.0):
    return None if value is None else TriggerReport("t", value, threshold, value > threshold)


def picked(rule, values, interval=1, last=None):
    """Steps of all picks along a trajectory whose checks saw ``values``."""
    state, picks = PickState(last), []
    for number, value in enumerate(values, start=1):
        step = interval * number
        state, pick = rule.after_frame(state, step, step, report(value))
        picks += [] if pick is None else [pick]
    end = rule.at_end(state)
    return picks + ([] if end is None else [end])


@given(VALUES, st.integers(1, 5), st.integers(0, 20))
def test_crossing_picks_what_fires_at_a_distance(values, interval, spacing):
    expected = []
    for number, value in enumerate(values, start=1):
        step = interval * number
        if value is not None and value > 1 and (not expected or step - expected[-1] >= spacing):
            expected.append(step)
    assert picked(PickRule(spacing=spacing), values, interval) == expected


@given(VALUES, st.integers(1, 12))
def test_peak_is_the_maximum_of_its_stretch(values, patience):
    """Brute force: from a crossing on, the first maximum that is not surpassed in time."""
    expected, k = [], 0
    while k < len(values):
        if values[k] is None or values[k] <= 1:
            k += 1
            continue
        best = k
        while True:
            reach = range(best + 1, min(best + 1 + patience, len(values)))
            better = [j for j in reach if values[j] is not None and values[j] > values[best]]
            if not better:
                break
            best = better[0]
        expected.append(best + 1)
        k = best + 1 + patience
    assert picked(PickRule("peak", patience=patience), values) == expected


@given(VALUES, st.integers(1, 12), st.integers(0, 30), st.sampled_from(["crossing", "peak"]))
def test_picks_keep_their_distance_and_have_fired(values, patience, spacing, at):
    found = picked(PickRule(at, patience, spacing), values, last=-3)
    assert all(values[step - 1] > 1 for step in found)
    assert (np.diff([-3, *found]) >= spacing).all()
    assert (np.diff(found) > 0).all()


@given(VALUES, st.integers(0, 40))
def test_goes_on_from_a_state(values, cut):
    rule, state, picks = PickRule("peak", 4, 6), PickState(), []
    for step, value in enumerate(values, start=1):
        if step == cut:
            state = PickState(state.last, state.peak, state.peak_step, state.ratio)
        state, pick = rule.after_frame(state, step, step, report(value))
        picks += [] if pick is None else [pick]
    end = rule.at_end(state)
    assert picks + ([] if end is None else [end]) == picked(rule, values)


def test_the_ratio_decides_between_triggers_of_other_thresholds():
    rule = PickRule("peak", patience=2)
    state, _ = rule.after_frame(PickState(), "first", 1, report(5.0, 1.0))
    state, _ = rule.after_frame(state, "second", 2, report(7.0, 4.0))
    assert rule.at_end(state) == "first"
    assert rule.after_frame(state, "third", 3, report(0.1))[1] == "first"


@pytest.mark.parametrize(
    "wrong",
    [{"at": "trough"}, {"patience": 0}, {"spacing": -1}, {"settling_fs": -1.0}],
    ids=lambda w: next(iter(w)),
)
def test_wrong_rules_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PickRule(**wrong)


# in a walker


def test_every_frame_that_fires_has_passed_the_guards():
    """A limit in the range of thermal forces, also for unbiased ones that nobody asked for."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=6))
    little_data = replace(fitted, noise=Noise(0.1, 0.1, 0.1))
    calculator = BiasedCalculator(little_data.calculator(), little_data, tau=2.0)
    guards, ends = Guards(max_force=2.3), set()
    for seed in range(3):
        *steps, end = run_walker(
            START,
            calculator,
            rng=np.random.default_rng(seed),
            n_steps=60,
            temperature_K=1500.0,
            timestep_fs=2.0,
            triggers=[EnergyTrigger(1e-9)],
            guards=guards,
        )
        ends.add(end.status)
        for step in [s for s in steps if s.fired]:
            forces = little_data.calculator().get_forces(step.atoms)
            assert np.linalg.norm(forces, axis=1).max() <= 2.3
            assert guards.violated(step.atoms, step.prediction) is None
    assert "force" in ends
