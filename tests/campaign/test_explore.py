from dataclasses import replace

import numpy as np
import pytest
from ase.constraints import FixAtoms
from helpers.structures import copper, copper_training

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    TauRule,
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
from ase_bayesel.campaign.exploration.pick_files import pick_frame
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.surrogate.design import Noise, property_rows
from ase_bayesel.surrogate.steps import Steps

START = copper(1, 0.02, repeat=(1, 1, 2))


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=10))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


class StaleCalculator(BiasedCalculator):
    """Keeps the first surrogate: selection without the update, to compare with."""

    surrogate = property(BiasedCalculator.surrogate.fget, lambda self, newer: None)


def biased(surrogate, kind=BiasedCalculator, **options):
    return kind(surrogate.calculator(), surrogate, **(options or {"tau": 0.5}))


def walker(calculator, trigger=None, n_steps=300, check_interval=2):
    """A function that starts walkers."""

    def start(atoms, rng, first_step, state):
        return run_walker(
            atoms,
            calculator,
            rng=rng,
            first_step=first_step,
            state=state,
            n_steps=n_steps,
            temperature_K=1500.0,
            timestep_fs=2.0,
            triggers=[trigger or ForceTrigger(0.1)],
            check_interval=check_interval,
        )

    return start


def started(n_walkers=2, seed=0, atoms=START):
    rngs = [np.random.default_rng([seed, k]) for k in range(n_walkers)]
    return start_exploration([atoms] * n_walkers, rngs)


def turn(state, calculator, start_walker):
    """The steps of one turn and the next state."""
    steps = Steps(take_turn(state, calculator, start_walker))
    return list(steps), steps.value


def explored(state, calculator, start_walker, n_picks=5):
    while len(state.picks) < n_picks and state.alive:
        _, state = turn(state, calculator, start_walker)
    return state


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


@pytest.mark.parametrize("seed", range(4))
def test_five_of_a_trajectory_carry_more_information_with_the_update(little_data, seed):
    surrogate = replace(little_data, noise=Noise(0.03, 0.03, 0.03))
    rng = np.random.default_rng(seed)
    steps = walker(biased(surrogate), check_interval=1000, n_steps=100)(START, rng, 0, None)
    frames = [step.atoms for step in steps]
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
    for kind in (BiasedCalculator, StaleCalculator):
        calculator = biased(little_data, kind)
        state = explored(started(seed=seed), calculator, walker(calculator))
        assert len(state.picks) == 5
        gains.append(joint_information(little_data, [pick.structure for pick in state.picks]))
    assert gains[0] > 1.2 * gains[1]


def test_a_pick_conditions_the_surrogate_at_once(little_data):
    calculator = biased(little_data)
    _, state = turn(started(), calculator, walker(calculator))
    (pick,) = state.picks
    expected = little_data.condition(pick.structure)
    np.testing.assert_array_equal(
        calculator.surrogate.posterior.precision_factor, expected.posterior.precision_factor
    )
    np.testing.assert_array_equal(calculator.surrogate.posterior.mean, little_data.posterior.mean)
    before, after = (s.uncertainty(pick.structure).forces.max() for s in (little_data, expected))
    assert after < 0.1 < before


# turns


def test_a_pick_hands_the_turn_over(little_data):
    calculator = biased(little_data)
    start = started(3)
    steps, state = turn(start, calculator, walker(calculator))
    assert steps[-1].fired is not None
    assert all(step.fired is None for step in steps[:-1])
    assert state.turn == 1
    assert state.walkers[0].step == steps[-1].step > 0
    assert [w.step for w in state.walkers[1:]] == [0, 0]
    np.testing.assert_array_equal(state.walkers[0].atoms.positions, steps[-1].atoms.positions)
    order = []
    for _ in range(5):
        order.append(state.turn)
        _, state = turn(state, calculator, walker(calculator, EnergyTrigger(-1.0)))
    assert order == [1, 2, 0, 1, 2]


def test_finished_walkers_are_passed_over(little_data):
    calculator = biased(little_data)
    never = walker(calculator, ForceTrigger(1e9), n_steps=4)
    steps, state = turn(started(3), calculator, never)
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    assert state.walkers[0].status == "finished"
    assert (state.turn, state.alive) == (1, True)
    _, state = turn(state, calculator, walker(calculator, EnergyTrigger(-1.0)))
    assert state.turn == 2
    _, state = turn(state, calculator, never)
    assert state.turn == 1
    _, state = turn(state, calculator, never)
    assert not state.alive
    assert [w.status for w in state.walkers] == ["finished"] * 3


def test_walkers_that_were_stopped_carry_the_reason(little_data):
    overlapping = START.copy()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.6]
    calculator = biased(little_data)
    _, state = turn(started(2, atoms=overlapping), calculator, walker(calculator))
    assert state.walkers[0].status == "close_contact"
    assert state.picks == ()
    assert state.turn == 1


def test_a_pick_on_the_last_step_is_kept(little_data):
    calculator = biased(little_data)
    last_only = walker(calculator, EnergyTrigger(-1.0), n_steps=4, check_interval=4)
    _, state = turn(started(1), calculator, last_only)
    assert len(state.picks) == 1
    _, state = turn(state, calculator, last_only)
    assert len(state.picks) == 1
    assert not state.alive


def test_taken_up_again_from_the_state_alone(little_data):
    """Each turn with a new calculator and a copy of the state, against one calculator."""
    calculator = biased(little_data)
    whole = explored(started(), calculator, walker(calculator), 4)
    state, surrogate = started(), little_data
    while len(state.picks) < 4:
        state = ExploreState(state.walkers, state.turn, state.picks, state.trace.copy())
        fresh = biased(surrogate)
        _, state = turn(state, fresh, walker(fresh))
        surrogate = fresh.surrogate
    assert [p.structure_id for p in state.picks] == [p.structure_id for p in whole.picks]
    np.testing.assert_array_equal(state.trace, whole.trace)
    for one, other in zip(state.walkers, whole.walkers, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
        np.testing.assert_array_equal(one.atoms.get_momenta(), other.atoms.get_momenta())
        assert (one.step, one.rng_state) == (other.step, other.rng_state)


@pytest.mark.parametrize("threshold", [0.1, 1e9])
def test_taken_up_again_with_a_relative_bias(little_data, threshold):
    """Running averages start afresh with every turn, after a pick or not: none are stored."""
    rule, trigger = TauRule(0.3, delay=2), ForceTrigger(threshold)
    calculator = biased(little_data, tau_rel=rule)
    _, first = turn(started(), calculator, walker(calculator, trigger, n_steps=20))
    _, whole = turn(first, calculator, walker(calculator, trigger, n_steps=20))
    fresh = biased(little_data.condition([pick.structure for pick in first.picks]), tau_rel=rule)
    _, again = turn(first, fresh, walker(fresh, trigger, n_steps=20))
    assert len(whole.trace) > len(first.trace)
    np.testing.assert_array_equal(again.trace, whole.trace)


def test_state_is_left_alone(little_data):
    state = started()
    before = state.walkers[0].atoms.copy(), dict(state.walkers[0].rng_state)
    calculator = biased(little_data)
    turn(state, calculator, walker(calculator))
    assert state.walkers[0].atoms == before[0]
    assert state.walkers[0].rng_state == before[1]
    assert state.picks == ()
    assert state.trace.shape == (0, len(TRACE_COLUMNS))


# picks


def test_same_structure_is_not_picked_twice(little_data):
    """A walker that stands still until it takes one real step."""
    calculator = biased(little_data)
    moved = START.copy()
    moved.positions[0, 0] += 0.1

    def standing(atoms, rng, first_step, state):
        for step, frame in enumerate([START, START, START, moved, START], first_step + 1):
            calculator.get_forces(frame)
            prediction = calculator.prediction
            reports = (EnergyTrigger(-1.0)(prediction, frame),)
            yield WalkerStep(step, frame.copy(), prediction, 0.0, reports, checked=True)

    picked, state = [], started(2)
    for _ in range(3):
        steps, state = turn(state, calculator, standing)
        picked.append(len(steps))
    assert picked == [1, 4, 5]
    assert [p.structure_id for p in state.picks] == [structure_id(START), structure_id(moved)]
    assert state.trace[:, -1].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_origin_and_uncertainty_of_a_pick(little_data):
    atoms = START.copy()
    atoms.set_constraint(FixAtoms([2]))
    calculator = biased(little_data)
    steps, state = turn(started(2, atoms=atoms), calculator, walker(calculator))
    (picked,) = state.picks
    pick = pick_frame(picked)
    step, report = steps[-1], steps[-1].fired
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
    np.testing.assert_allclose(pick.positions, step.atoms.positions, atol=1e-8)
    assert pick.constraints[0].index.tolist() == [2]
    assert not pick.has("momenta")


def test_trace_has_a_row_for_every_evaluation_of_the_trigger(little_data):
    calculator = biased(little_data)
    steps, state = turn(started(), calculator, walker(calculator))
    columns = dict(zip(TRACE_COLUMNS, state.trace.T, strict=True))
    checked = [step for step in steps if step.reports]
    assert columns["step"].tolist() == [step.step for step in checked]
    assert columns["walker"].tolist() == [0.0] * len(checked)
    assert columns["value"].tolist() == [step.reports[0].value for step in checked]
    assert columns["picked"].tolist() == [0.0] * (len(checked) - 1) + [1.0]
    assert columns["tau"].tolist() == [0.5] * len(checked)
    expected = [step.prediction.energy_std / len(START) for step in checked]
    np.testing.assert_allclose(columns["energy_std"], expected)
    _, later = turn(state, calculator, walker(calculator))
    np.testing.assert_array_equal(later.trace[: len(checked)], state.trace)
    assert set(later.trace[len(checked) :, 0]) == {1.0}
