"""Which frame is picked, as a state machine and in turns of walkers."""

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
    ForceTrigger,
    Guards,
    WalkerStep,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.campaign.exploration import (
    TRACE_COLUMNS,
    ExploreState,
    start_exploration,
    take_turn,
)
from ase_bayesel.dynamics.triggers import AnyOf, PickRule, PickState, TriggerReport
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.steps import Steps

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
    "wrong", [{"at": "trough"}, {"patience": 0}, {"spacing": -1}], ids=lambda w: next(iter(w))
)
def test_wrong_rules_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PickRule(**wrong)


# in turns of walkers


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=6))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


def biased(surrogate, tau=0.5):
    return BiasedCalculator(surrogate.calculator(), surrogate, tau=tau)


def walker(calculator, trigger=None, **options):
    """A function that starts walkers."""
    defaults = {"n_steps": 60, "temperature_K": 1500.0, "timestep_fs": 2.0, "check_interval": 2}
    triggers = [trigger or ForceTrigger(0.05)]

    def start(atoms, rng, first_step, driver):
        settings = {**defaults, **options, "triggers": triggers, "state": driver}
        return run_walker(atoms, calculator, rng=rng, first_step=first_step, **settings)

    return start


def started(n_walkers=2):
    rngs = [np.random.default_rng([0, k]) for k in range(n_walkers)]
    return start_exploration([START] * n_walkers, rngs)


def turn(state, calculator, start_walker, rule):
    """The steps of one turn and the next state."""
    steps = Steps(take_turn(state, calculator, start_walker, rule))
    return list(steps), steps.value


def test_the_frame_of_the_maximum_is_picked(little_data):
    calculator = biased(little_data)
    rule = PickRule("peak", patience=10)
    steps, state = turn(started(), calculator, walker(calculator), rule)
    (pick,) = state.picks
    fired = [step for step in steps if step.fired]
    peak = max(fired, key=lambda step: step.fired.value)
    assert pick.step == peak.step
    assert pick.report.value == peak.fired.value > fired[0].fired.value
    np.testing.assert_allclose(pick.structure.positions, peak.atoms.positions, atol=1e-8)
    np.testing.assert_array_equal(pick.deviations.force_std, peak.prediction.force_std)
    assert steps[-1].step == peak.step + 10 == state.walkers[0].step
    assert (state.walkers[0].status, state.turn) == ("running", 1)
    columns = dict(zip(TRACE_COLUMNS, state.trace.T, strict=True))
    assert columns["step"][columns["picked"] == 1].tolist() == [peak.step]
    expected = little_data.condition(pick.structure).posterior.precision_factor
    np.testing.assert_array_equal(calculator.surrogate.posterior.precision_factor, expected)


@pytest.mark.parametrize("last_step", [40, 51])
def test_a_peak_that_waits_at_the_end_is_picked(little_data, last_step):
    calculator = biased(little_data)
    start = walker(calculator, n_steps=last_step)
    steps, state = turn(started(1), calculator, start, PickRule("peak", patience=1000))
    (pick,) = state.picks
    fired = [step for step in steps if step.fired]
    assert pick.report.value == max(step.fired.value for step in fired)
    assert steps[-1].step == last_step
    assert state.walkers[0].status == "finished"
    assert not state.alive


def test_a_peak_before_an_explosion_is_picked_and_the_reason_kept(little_data):
    calculator, cold = biased(little_data), START.copy()
    cold.set_momenta(np.full((8, 3), 1e-3))
    options = {"temperature_K": 6000.0, "guards": Guards(max_temperature_K=2500.0)}
    hot = walker(calculator, ForceTrigger(0.01), **options)
    state = start_exploration([cold], [np.random.default_rng(0)])
    steps, state = turn(state, calculator, hot, PickRule("peak", patience=1000))
    assert steps[-1].status == state.walkers[0].status == "temperature"
    (pick,) = state.picks
    sane = {step.step for step in steps[:-1]}
    assert pick.step in sane
    assert Guards().violated(pick.structure) is None


def test_spacing_is_kept_over_turns_and_resumes(little_data):
    """With an ever firing trigger; each turn with a new calculator and a copy of the state."""
    rule, trigger = PickRule(spacing=7), EnergyTrigger(1e-9)
    calculator = biased(little_data)
    whole = started()
    while whole.alive:
        _, whole = turn(whole, calculator, walker(calculator, trigger, n_steps=40), rule)
    for number in range(2):
        steps = [p.step for p in whole.picks if p.walker == number]
        assert steps == [2, 10, 18, 26, 34]
    state, surrogate = started(), little_data
    while state.alive:
        fresh = biased(surrogate)
        state = ExploreState(state.walkers, state.turn, state.picks, state.trace.copy())
        _, state = turn(state, fresh, walker(fresh, trigger, n_steps=40), rule)
        surrogate = fresh.surrogate
    assert [p.structure_id for p in state.picks] == [p.structure_id for p in whole.picks]
    np.testing.assert_array_equal(state.trace, whole.trace)


@pytest.mark.parametrize("rule", [PickRule("peak", 6), PickRule("peak", 10, 20)])
def test_peaks_taken_up_again_from_the_state_alone(little_data, rule):
    calculator, whole = biased(little_data), started()
    state, surrogate = started(), little_data
    for _ in range(3):
        _, whole = turn(whole, calculator, walker(calculator), rule)
        fresh = biased(surrogate)
        _, state = turn(state, fresh, walker(fresh), rule)
        surrogate = fresh.surrogate
    assert len(whole.picks) > 1
    assert [p.structure_id for p in state.picks] == [p.structure_id for p in whole.picks]
    np.testing.assert_array_equal(state.trace, whole.trace)


def test_a_frame_that_broke_a_guard_is_never_picked(little_data):
    """Steps as no walker makes them: one that fired and is not sane."""
    calculator = biased(little_data)

    def broken(atoms, rng, first_step, driver):
        calculator.get_forces(START)
        prediction = calculator.prediction
        reports = (EnergyTrigger(1e-9)(prediction, START),)
        yield WalkerStep(1, START.copy(), prediction, 0.0)
        yield WalkerStep(2, START.copy(), prediction, 0.0, reports, "force")

    for rule in (PickRule(), PickRule("peak")):
        _, state = turn(started(1), calculator, broken, rule)
        assert state.picks == ()
        assert state.walkers[0].status == "force"


def test_every_frame_that_fires_has_passed_the_guards(little_data):
    """A limit in the range of thermal forces, also for unbiased ones that nobody asked for."""
    calculator = biased(little_data, tau=2.0)
    guards, ends = Guards(max_force=2.3), set()
    for seed in range(3):
        start = walker(calculator, EnergyTrigger(1e-9), guards=guards, check_interval=1)
        *steps, end = start(START, np.random.default_rng(seed), 0, None)
        ends.add(end.status)
        for step in [s for s in steps if s.fired]:
            forces = little_data.calculator().get_forces(step.atoms)
            assert np.linalg.norm(forces, axis=1).max() <= 2.3
            assert guards.violated(step.atoms, step.prediction) is None
    assert "force" in ends


def test_the_reason_names_the_members_that_fired(little_data):
    calculator = biased(little_data)
    trigger = AnyOf((ForceTrigger(0.05), EnergyTrigger(10.0)))
    _, state = turn(started(1), calculator, walker(calculator, trigger), PickRule())
    (pick,) = state.picks
    reason = pick.reason
    assert pick.report.name == "any"
    assert reason.startswith("any of (force ")
    assert f"> 0.05 (atom {pick.report.atom_index}); energy_per_atom " in reason
    assert "<= 10" in reason
    assert pick.report.threshold == 1.0 < pick.report.value
