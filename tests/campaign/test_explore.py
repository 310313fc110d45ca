"""Walkers in turns, and what a pick and the trace say of where they come from."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from ase.constraints import FixAtoms
from helpers.lockstep import RULES, explored, setup_for, started
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, EnergyTrigger, ForceTrigger, Guards, fit_surrogate
from ase_bayesel.campaign.exploration import (
    TRACE_COLUMNS,
    pass_barrier,
    start_exploration,
)
from ase_bayesel.campaign.exploration.blocks import look_again
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.pick_files import pick_frame
from ase_bayesel.dynamics.triggers import AnyOf, LazyCheck, PickRule
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.surrogate.design import Noise, property_rows

START = copper(1, 0.02, repeat=(1, 1, 2))
TURNS = replace(RULES, turns=True)
NEVER, ALWAYS, SOMETIMES = ForceTrigger(1e9), EnergyTrigger(-1.0), ForceTrigger(0.1)


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=10))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


def in_turns(surrogate, trigger=SOMETIMES, n_steps=300, check_interval=2, **options):
    return setup_for(surrogate, trigger, n_steps, check_interval, **({"rules": TURNS} | options))


def in_one_go(setup, atoms=START, number=0):
    """All steps of a walker that is never left."""
    calculator = setup.make_calculator(setup.surrogate)
    rng = np.random.default_rng([0, number])
    return setup.plans[number].run(atoms, calculator, rng=rng, triggers=setup.plans[number].checks)


def until_it_fires(setup, atoms=START):
    """The steps of the first walker up to the first that fires."""
    steps = []
    for step in in_one_go(setup, atoms):
        steps.append(step)
        if step.fired is not None:
            return steps
    raise AssertionError("nothing fired")


def joint_information(surrogate, picks):
    """What all picks together would add to the log determinant of the initial posterior."""
    return surrogate.posterior.information_gain(np.concatenate([surrogate.rows(p) for p in picks]))


# the update at every pick


def largest_force_std(surrogate, force_rows):
    """`ForceTrigger`'s value of each structure, from features formed once."""
    variances = [surrogate.posterior.variance(rows) for rows in force_rows]
    return [np.sqrt(v.reshape(-1, 3).sum(axis=1)).max() for v in variances]


def greedy(surrogate, frames, n, update):
    """The n frames of the largest force uncertainty, one after another."""
    features = surrogate.descriptor.compute(frames, derivatives=True)
    force_rows = [property_rows(f, "forces") for f in features]
    picks = []
    for _ in range(n):
        order = np.argsort(largest_force_std(surrogate, force_rows))[::-1]
        picks.append(next(k for k in order if k not in picks))
        if update:
            surrogate = surrogate.condition(frames[picks[-1]])
    return picks


@pytest.mark.parametrize("number", range(4))
def test_five_of_a_trajectory_carry_more_information_with_the_update(little_data, number):
    surrogate = replace(little_data, noise=Noise(0.03, 0.03, 0.03))
    setup = setup_for(surrogate, NEVER, n_steps=100, check_interval=1000)
    frames = [step.atoms for step in in_one_go(setup, number=number)]
    assert len(frames) == 101
    updated, stale = (greedy(surrogate, frames, 5, update) for update in (True, False))
    assert updated[0] == stale[0]
    gains = [joint_information(surrogate, [frames[k] for k in ks]) for ks in (updated, stale)]
    assert gains[0] > 1.05 * gains[1]
    # near-copies: the stale picks are neighbours in time
    assert np.ptp(stale) < np.ptp(updated)


@pytest.mark.parametrize("seed", [0, 1])
def test_five_picks_of_walkers_carry_more_information_with_the_update(little_data, seed):
    gains = []
    for batch in ("first", "stale"):
        setup = in_turns(little_data, rules=replace(TURNS, batch=batch))
        (*_, state), _ = explored(setup, started([START] * 2, seed))
        assert len(state.picks) == 5
        gains.append(joint_information(little_data, [pick.structure for pick in state.picks]))
    assert gains[0] > 1.2 * gains[1]


def test_a_pick_conditions_the_surrogate_at_once(little_data):
    states, surrogate = explored(in_turns(little_data), started([START] * 2), limit=1)
    (pick,) = states[-1].picks
    expected = little_data.condition(pick.structure)
    np.testing.assert_array_equal(
        surrogate.posterior.precision_factor, expected.posterior.precision_factor
    )
    np.testing.assert_array_equal(surrogate.posterior.mean, little_data.posterior.mean)
    before, after = (s.uncertainty(pick.structure).forces.max() for s in (little_data, expected))
    assert after < 0.1 < before


# turns


def test_a_pick_hands_the_turn_over(little_data):
    setup = in_turns(little_data)
    states, _ = explored(setup, started([START] * 3), limit=1)
    assert {state.turn for state in states[:-1]} == {0}
    assert all([w.step for w in state.walkers[1:]] == [0, 0] for state in states)
    end, last = states[-1], until_it_fires(setup)[-1]
    assert end.turn == 1
    assert end.walkers[0].step == last.step > 0
    np.testing.assert_array_equal(end.walkers[0].atoms.positions, last.atoms.positions)


def test_walkers_that_always_pick_take_turns_in_their_order(little_data):
    states, _ = explored(in_turns(little_data, ALWAYS), started([START] * 3), limit=6)
    assert [state.turn for state in states[:-1]] == [0, 1, 2, 0, 1, 2]
    assert [pick.walker for pick in states[-1].picks] == [0, 1, 2, 0, 1, 2]


def test_finished_walkers_are_passed_over(little_data):
    """Only the second of three walkers has a trigger that fires."""
    setup = in_turns(little_data, NEVER, n_steps=4)
    plans = list(setup.plans)
    plans[1] = replace(plans[1], checks=(LazyCheck(ALWAYS),))
    states, _ = explored(replace(setup, plans=tuple(plans)), started([START] * 3))
    turns = [state.turn for state in states[:-1]]
    assert turns == [0, 0, 0, 1, 2, 2, 2, 1, 1]
    for before, after in pairwise(states):
        moved = [one is not other for one, other in zip(before.walkers, after.walkers, strict=True)]
        stepped = [
            one.step != other.step for one, other in zip(before.walkers, after.walkers, strict=True)
        ]
        assert moved[before.turn]
        assert sum(stepped) <= 1
    end = states[-1]
    assert not end.alive
    assert [w.status for w in end.walkers] == ["finished"] * 3
    assert [w.step for w in end.walkers] == [4] * 3
    assert [(p.walker, p.step) for p in end.picks] == [(1, 2), (1, 4)]


def test_a_walker_that_is_stopped_carries_the_reason_and_hands_over(little_data):
    overlapping = START.copy()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.6]
    (_, state, *_), _ = explored(in_turns(little_data), started([overlapping, START]))
    assert [w.status for w in state.walkers] == ["close_contact", "running"]
    assert state.picks == ()
    assert state.turn == 1


def test_a_pick_on_the_last_step_is_kept(little_data):
    setup = in_turns(little_data, ALWAYS, n_steps=4, check_interval=4)
    states, _ = explored(setup, started([START]))
    assert [len(state.picks) for state in states] == [0, 1, 1]
    assert not states[-1].alive


def test_averages_of_tau_are_kept_from_turn_to_turn(little_data):
    """Each walker has its own; the frame of a pick is evaluated again and counts twice."""
    setup = in_turns(little_data, ALWAYS, n_steps=20, tau_rel=0.3)
    (*_, state), _ = explored(setup, started([START] * 2), limit=6)
    assert [walker.step for walker in state.walkers] == [6, 6]
    assert [walker.driver.tau.n for walker in state.walkers] == [9, 9]


def test_spacing_is_kept_over_turns(little_data):
    setup = in_turns(little_data, ALWAYS, n_steps=40)
    setup = replace(setup, rules=replace(setup.rules, offers="never"))
    rule = PickRule(spacing=7, settling_fs=0)
    (*_, state), _ = explored(setup, started([START] * 2), limit=99, rule=rule)
    for number in range(2):
        steps = [p.step for p in state.picks if p.walker == number]
        assert steps == [2, 10, 18, 26, 34]


# picks


def test_same_structure_is_not_picked_twice(little_data):
    """Two unbiased walkers with the same random numbers go the same way, one after the other."""
    setup = in_turns(little_data, ALWAYS, tau=0.0)
    state = start_exploration([START] * 2, [np.random.default_rng(0) for _ in range(2)])
    (*_, state), _ = explored(setup, state, limit=4)
    assert [(p.walker, p.step) for p in state.picks] == [(0, 2), (1, 4), (0, 6), (1, 8)]
    assert len({p.structure_id for p in state.picks}) == 4
    assert state.trace[:, [0, 1, -1]].tolist() == [
        *([0, 2, 1], [1, 2, 0], [1, 4, 1], [0, 4, 0], [0, 6, 1], [1, 6, 0], [1, 8, 1]),
    ]


def test_origin_and_uncertainty_of_a_pick(little_data):
    atoms = START.copy()
    atoms.set_constraint(FixAtoms([2]))
    setup = in_turns(little_data)
    (*_, state), _ = explored(setup, started([atoms] * 2), limit=1)
    (picked,) = state.picks
    pick = pick_frame(picked)
    step = until_it_fires(setup, atoms)[-1]
    report = step.fired
    assert (picked.temperature_K, picked.tau) == (step.temperature_K, step.prediction.tau)
    assert pick.info == {
        "bayesel_id": structure_id(pick),
        "bayesel_pick": 0,
        "bayesel_walker": 0,
        "bayesel_step": step.step,
        "bayesel_trigger": "force",
        "bayesel_value": report.value,
        "bayesel_threshold": 0.1,
        "bayesel_reason": f"force {report.value:.6g} > 0.1 (atom {report.atom_index})",
        "bayesel_energy": step.prediction.energy,
        "bayesel_energy_std": step.prediction.energy_std,
        "bayesel_atom": report.atom_index,
    }
    np.testing.assert_array_equal(pick.arrays["bayesel_force_std"], step.prediction.force_std)
    local = little_data.local_energy_std(step.atoms)
    np.testing.assert_array_equal(pick.arrays["bayesel_local_energy_std"], local)
    assert not pick.arrays["bayesel_local_energy_extrapolated"].any()  # there is no support
    np.testing.assert_allclose(pick.positions, step.atoms.positions, atol=1e-8)
    assert pick.constraints[0].index.tolist() == [2]
    assert not pick.has("momenta")


def test_trace_has_a_row_for_every_evaluation_of_the_trigger(little_data):
    setup = in_turns(little_data)
    states, _ = explored(setup, started([START] * 2), limit=2)
    first = next(state for state in states if state.picks)
    columns = dict(zip(TRACE_COLUMNS, first.trace.T, strict=True))
    checked = [step for step in until_it_fires(setup) if step.reports]
    assert columns["step"].tolist() == [step.step for step in checked]
    assert columns["walker"].tolist() == [0.0] * len(checked)
    assert columns["value"].tolist() == [step.reports[0].value for step in checked]
    assert columns["picked"].tolist() == [0.0] * (len(checked) - 1) + [1.0]
    assert columns["tau"].tolist() == [0.5] * len(checked)
    expected = [step.prediction.energy_std / len(START) for step in checked]
    np.testing.assert_allclose(columns["energy_std"], expected)
    later = states[-1].trace
    np.testing.assert_array_equal(later[: len(checked)], first.trace)
    assert set(later[len(checked) :, 0]) == {1.0}


def test_the_frame_of_the_maximum_is_picked_with_what_was_seen_there(little_data):
    rule = PickRule("peak", patience=10, settling_fs=0)
    setup = in_turns(little_data, n_steps=60)
    states, surrogate = explored(setup, started([START] * 2), limit=1, rule=rule)
    state = states[-1]
    (pick,) = state.picks
    last = state.walkers[0].step
    fired = [step for step in in_one_go(setup) if step.fired and step.step <= last]
    peak = max(fired, key=lambda step: step.fired.value)
    assert pick.step == peak.step
    assert pick.report.value == peak.fired.value > fired[0].fired.value
    np.testing.assert_allclose(pick.structure.positions, peak.atoms.positions, atol=1e-8)
    np.testing.assert_array_equal(pick.deviations.force_std, peak.prediction.force_std)
    assert last == peak.step + 10
    assert (state.walkers[0].status, state.turn) == ("running", 1)
    columns = dict(zip(TRACE_COLUMNS, state.trace.T, strict=True))
    assert columns["step"][columns["picked"] == 1].tolist() == [peak.step]
    expected = little_data.condition(pick.structure).posterior.precision_factor
    np.testing.assert_array_equal(surrogate.posterior.precision_factor, expected)


def test_a_peak_before_an_explosion_is_picked_and_the_reason_kept(little_data):
    cold = START.copy()
    cold.set_momenta(np.full((8, 3), 1e-3))
    options = {"temperature_K": 6000.0, "guards": Guards(max_temperature_K=2500.0)}
    setup = in_turns(little_data, ForceTrigger(0.01), n_steps=60, driven=options)
    rule = PickRule("peak", patience=1000, settling_fs=0)
    (*_, before, state), _ = explored(setup, started([cold]), rule=rule)
    assert state.walkers[0].status == "temperature"
    (pick,) = state.picks
    assert pick.step <= before.walkers[0].step
    assert Guards().violated(pick.structure) is None


@pytest.mark.parametrize("at", ["crossing", "peak"])
def test_a_frame_that_broke_a_guard_is_never_picked(little_data, at):
    """A block as no walker makes one: its last frame has fired and is not sane."""
    rules = replace(TURNS, pick=PickRule(at, settling_fs=0))
    setup = in_turns(little_data, ALWAYS, rules=rules)
    state = started([START])
    (result,) = LocalExecutor(setup).advance(state.living, 2, little_data).values()
    assert result.event.fired is not None
    broken = replace(result, walker=replace(result.walker, status="force"))
    again = partial(look_again, setup)
    after, _ = pass_barrier(state, little_data, {0: broken}, again, 5, rules, [START])
    assert after.picks == ()
    assert after.walkers[0].status == "force"


def test_the_reason_names_the_members_that_fired(little_data):
    trigger = AnyOf((ForceTrigger(0.05), EnergyTrigger(10.0)))
    (*_, state), _ = explored(in_turns(little_data, trigger), started([START]), limit=1)
    (pick,) = state.picks
    reason = pick.reason
    assert pick.report.name == "any"
    assert reason.startswith("any of (force ")
    assert f"> 0.05 (atom {pick.report.atom_index}); energy_per_atom " in reason
    assert "<= 10" in reason
    assert pick.report.threshold == 1.0 < pick.report.value
