"""Walkers in lock-step: blocks against one go, barriers against a loop over `run_walkers`."""

from dataclasses import replace
from functools import partial
from itertools import islice, pairwise

import numpy as np
import pytest
from ase.constraints import FixAtoms
from helpers.calculators import Opaque
from helpers.lockstep import (
    CROSSING,
    RULES,
    assert_same_atoms,
    assert_same_states,
    explored,
    setup_for,
    started,
)
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import cluster, copper, copper_training
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    EnergyTrigger,
    ForceTrigger,
    Guards,
    MACEDescriptor,
    NoseHooverChain,
    Ramp,
    RelativeForceTrigger,
    TauRule,
    fit_surrogate,
    run_walkers,
)
from ase_bayesel.campaign.exploration import (
    TRACE_COLUMNS,
    ExploreState,
    Targets,
    choose_batch,
    explore_to_barriers,
    pass_barrier,
)
from ase_bayesel.campaign.exploration.barriers import OFFERED, next_barrier
from ase_bayesel.campaign.exploration.blocks import advance_walker, look_again
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.trace import ENERGY_STD, STEP, TAU, TEMPERATURE, VALUE
from ase_bayesel.campaign.store import Store
from ase_bayesel.dynamics.triggers import AnyOf, LazyCheck, PickRule
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.surrogate.design import Noise
from ase_bayesel.surrogate.energy_weights import EnergyWeights
from ase_bayesel.surrogate.force_uncertainty import ForceSearch

START = copper(1, 0.02, repeat=(1, 1, 2))
NEVER = ForceTrigger(1e9)
RULE = TauRule(0.3, delay=3, memory=7)
PEAK = PickRule("peak", patience=8, spacing=12, settling_fs=0)


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=8))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


# a chain of blocks is the walker in one go

FIXED = START.copy()
FIXED.set_constraint(FixAtoms([0, 3]))


@pytest.mark.parametrize("start", [START, FIXED, cluster("Cu5", 4)], ids=["bulk", "fixed", "open"])
@pytest.mark.parametrize("bias", [{"tau": 0.5}, {"tau_rel": RULE}], ids=["tau", "tau_rel"])
@pytest.mark.parametrize("wrap", [lambda mlip: mlip, Opaque], ids=["joint", "apart"])
def test_blocks_make_the_same_trajectory_as_one_go(little_data, start, bias, wrap):
    setup = setup_for(little_data, NEVER, n_steps=22, wrap=wrap, **bias)
    rng, calculator = np.random.default_rng([0, 0]), setup.make_calculator(little_data)
    whole = list(setup.plans[0].run(start, calculator, rng=rng, triggers=[NEVER]))
    states, _ = explored(setup, started([start]))
    assert [s.walkers[0].step for s in states] == [0, 4, 8, 12, 16, 20, 22]
    for state in states[1:]:
        walker = state.walkers[0]
        assert_same_atoms(walker.atoms, whole[walker.step].atoms)
    assert states[-1].walkers[0].status == "finished"
    checked = [step for step in whole if step.reports]
    assert states[-1].trace[:, 4].tolist() == [step.reports[0].value for step in checked]
    assert states[-1].trace[:, 5].tolist() == [step.prediction.tau for step in checked]
    if "tau_rel" in bias:
        assert len(set(states[-1].trace[:, 5])) > 1


def test_a_block_makes_no_evaluation_twice(little_data):
    """That of the first frame is taken along, unless the surrogate is a new one."""
    counts = []

    class Counting(BiasedCalculator):
        def calculate(self, *args, **kwargs):
            counts.append(1)
            super().calculate(*args, **kwargs)

    mlip = little_data.calculator()
    setup = replace(
        setup_for(little_data, NEVER, n_steps=20),
        make_calculator=lambda newer: Counting(mlip, newer, tau=0.5),
    )
    explored(setup, started([START]))
    assert len(counts) == 21
    (walker,) = started([START]).walkers
    calculator = setup.make_calculator(little_data)
    walker = advance_walker(setup, 0, walker, calculator, 4).walker
    counts.clear()
    calculator.set_surrogate(little_data.condition(START), keep_averages=True)
    stale = replace(walker, evaluated=None)
    advance_walker(setup, 0, stale, calculator, 8)
    assert len(counts) == 5


def test_a_restored_prediction_can_be_taken_apart(little_data):
    calculator = BiasedCalculator(little_data.calculator(), little_data, tau=0.7)
    atoms = copper(3, 0.1)
    calculator.get_property("stress", atoms)
    expected, results = calculator.prediction, dict(calculator.results)
    other = BiasedCalculator(little_data.calculator(), little_data, tau=0.7)
    other.restore(atoms, calculator.evaluated(atoms))
    assert other.get_potential_energy(atoms) == results["energy"]
    np.testing.assert_array_equal(other.get_forces(atoms), results["forces"])
    np.testing.assert_array_equal(other.get_stress(atoms), results["stress"])
    for name in ("forces", "bias_forces", "stress", "bias_stress", "force_std_bound"):
        found, wanted = getattr(other.prediction, name), getattr(expected, name)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    for name in ("energy", "bias_energy", "energy_std", "tau"):
        assert getattr(other.prediction, name) == getattr(expected, name)
    moved = atoms.copy()
    moved.positions[0, 0] += 0.1
    assert calculator.evaluated(moved) is None


# barriers


def by_run_walkers(setup, starts, limit, threshold):
    """The picks by a plain loop: walkers that never stop, and new surrogates at the barriers."""
    surrogate, picks = setup.surrogate, []
    calculators = [setup.make_calculator(surrogate) for _ in starts]
    walkers = [
        setup.plans[k].run(atoms, calculator, rng=np.random.default_rng([0, k]), triggers=[NEVER])
        for k, (atoms, calculator) in enumerate(zip(starts, calculators, strict=True))
    ]
    for steps in run_walkers(walkers, calculators):
        before = len(picks)
        for k, step in steps.items():
            if step.reports and len(picks) < limit:
                deviations = surrogate.uncertainty(step.atoms).forces
                if deviations.max() > threshold:
                    picks.append((k, step.step, step.atoms, deviations.max()))
                    surrogate = surrogate.condition(step.atoms)
        if len(picks) > before:
            for calculator in calculators:
                calculator.set_surrogate(surrogate, keep_averages=True)
        if len(picks) == limit:
            break
    return picks


@pytest.mark.parametrize("bias", [{"tau": 0.5}, {"tau_rel": RULE}], ids=["tau", "tau_rel"])
def test_picks_are_those_of_a_loop_over_run_walkers(little_data, bias):
    starts = [START, copper(2, 0.05), cluster("Cu4", 1), FIXED]
    setup = setup_for(little_data, ForceTrigger(0.05), n_steps=40, **bias)
    expected = by_run_walkers(setup, starts, 7, 0.05)
    states, _ = explored(setup, started(starts), limit=7)
    found = states[-1].picks
    assert len(found) == 7
    assert len({k for k, *_ in expected}) >= 3
    for order, (pick, (k, step, atoms, value)) in enumerate(zip(found, expected, strict=True)):
        assert (pick.walker, pick.step) == (k, step)
        assert pick.number == order
        np.testing.assert_allclose(pick.structure.positions, atoms.positions, atol=1e-7)
        assert pick.report.value == pytest.approx(value, rel=1e-6)
    columns = dict(zip(TRACE_COLUMNS, states[-1].trace.T, strict=True))
    chosen = columns["picked"] == 1
    assert columns["walker"][chosen].tolist() == [k for k, *_ in expected]
    assert columns["step"][chosen].tolist() == [step for _, step, *_ in expected]


def at_barrier(little_data, starts, limit=5, trigger=None):
    """One barrier of walkers; returns the state before, the setup and the state after."""
    setup = setup_for(little_data, trigger or ForceTrigger(0.1), check_interval=8)
    state = started(starts)
    results = LocalExecutor(setup).advance(state.living, 8, little_data)
    again = partial(look_again, setup)
    return (
        results,
        setup,
        pass_barrier(state, little_data, results, again, limit, setup.rules, starts),
    )


def test_a_later_walker_is_looked_at_again(little_data):
    """Two frames that are almost one: both fire before the first is picked, one after."""
    results, setup, _ = at_barrier(little_data, [START, START])
    near = results[0].walker.atoms.copy()
    near.positions += 1e-3
    near.positions[0, 0] += 1e-3
    twin = replace(results[0], event=replace(results[0].event, atoms=near))
    twin = replace(twin, walker=replace(twin.walker, atoms=near))
    assert twin.event.fired is not None
    again = partial(look_again, setup)
    both = {0: results[0], 1: twin}
    state, surrogate = pass_barrier(
        started([START, START]), little_data, both, again, 5, setup.rules, [START] * 2
    )
    assert [p.walker for p in state.picks] == [0]
    assert state.trace[:, -1].tolist() == [1, 0]
    assert state.trace[1, 4] < 0.1 < state.trace[0, 4]
    exact = surrogate.uncertainty(near)
    assert state.trace[1, 4] == pytest.approx(exact.forces.max(), rel=1e-6)
    assert state.trace[1, 3] == pytest.approx(exact.energy / len(near), rel=1e-4)


def test_a_later_walker_that_still_fires_picks_at_the_same_barrier(little_data):
    results, _, (state, surrogate) = at_barrier(little_data, [cluster("Cu4", 1), START])
    assert [p.walker for p in state.picks] == [0, 1]
    assert {p.step for p in state.picks} == {8}
    once = little_data.condition(state.picks[0].structure)
    deviations = once.uncertainty(results[1].walker.atoms).forces
    assert state.picks[1].report.value == pytest.approx(deviations.max(), rel=1e-6)
    np.testing.assert_allclose(state.picks[1].deviations.force_std, deviations, rtol=1e-5)
    twice = once.condition(state.picks[1].structure).posterior
    np.testing.assert_array_equal(surrogate.posterior.precision_factor, twice.precision_factor)


def test_no_more_picks_than_asked_for(little_data):
    _, _, (state, _) = at_barrier(little_data, [cluster("Cu4", 1), START, START], limit=1)
    assert [p.walker for p in state.picks] == [0]
    assert state.trace[:, -1].tolist() == [1, 0, 0]


def test_same_structure_is_not_picked_twice(little_data):
    results, setup, _ = at_barrier(little_data, [START], trigger=EnergyTrigger(-1.0))
    twins = {0: results[0], 1: results[0]}
    again = partial(look_again, setup)
    rest = twins, again, 5, setup.rules, [START] * 2
    state, _ = pass_barrier(started([START, START]), little_data, *rest)
    assert len(state.picks) == 1
    state, _ = pass_barrier(state, little_data, *rest)
    assert len(state.picks) == 1


def test_a_pick_reaches_all_at_their_next_step(little_data):
    setup = setup_for(little_data, ForceTrigger(0.1), tau_rel=RULE)
    states, _ = explored(setup, started([START, copper(2, 0.05), START]), limit=3)
    before = len(states[0].picks)
    for state in states[1:]:
        evaluated = [w.evaluated is not None for w in state.walkers]
        assert evaluated == [len(state.picks) == before] * 3
        assert len({w.driver.tau.n for w in state.walkers}) == 1
        before = len(state.picks)
    assert before == 3


def test_barriers_are_multiples_of_the_interval(little_data):
    state = started([START, START])
    assert next_barrier(state.living, 5) == 5
    moved = tuple(replace(w, step=s) for w, s in zip(state.walkers, (15, 15), strict=True))
    assert next_barrier(ExploreState(moved).living, 5) == 20


def test_a_walker_that_dies_leaves_the_others_alone(little_data):
    overlapping = START.copy()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.6]
    setup = setup_for(little_data, ForceTrigger(0.1))
    state = started([overlapping, START])
    found, _ = explored(setup, state, limit=3)
    assert [w.status for w in found[-1].walkers] == ["close_contact", "running"]
    assert {p.walker for p in found[-1].picks} == {1}
    alone = ExploreState((state.walkers[1],))
    without, _ = explored(setup, alone, limit=3)
    assert_same_atoms(without[-1].walkers[0].atoms, found[-1].walkers[1].atoms)
    np.testing.assert_array_equal(without[-1].trace[:, 1:], found[-1].trace[:, 1:])


def test_all_walkers_end(little_data):
    states, surrogate = explored(setup_for(little_data, NEVER, n_steps=10), started([START] * 2))
    assert not states[-1].alive
    assert [w.status for w in states[-1].walkers] == ["finished"] * 2
    assert [w.step for w in states[-1].walkers] == [10, 10]
    assert surrogate is little_data


def test_an_error_names_its_walker(little_data):
    gold = START.copy()
    gold.symbols[0] = "Au"
    with pytest.raises(Exception, match="Au") as caught:
        explored(setup_for(little_data, NEVER), started([START, gold]))
    assert "raised by walker 1" in caught.value.__notes__


# taken up again


BOUND = TrustBound(absolute=0.15, factor=None, energy=0.5)
JOINT = replace(RULES, batch="joint", candidate_interval=8)
ANY_OF_TWO = AnyOf((ForceTrigger(0.1), EnergyTrigger(0.02)))
WAYS = {
    "tau": {},
    "tau_rel": {"tau_rel": RULE},
    "chain": {"driven": {"ensemble": NoseHooverChain(time_constant_fs=20.0)}, "tau_rel": RULE},
    "rollbacks": {"driven": {"guards": Guards(max_temperature_K=1500), "max_rollbacks": 99}},
    "ramp": {
        "driven": {
            "temperature_K": Ramp(((0, 300), (40, 2000))),
            "tau_rel": Ramp(((0, 1), (9, 0))),
        },
        "tau_rel": RULE,
    },
    "any": {"trigger": ANY_OF_TWO, "tau_rel": RULE},
    "trust": {"bound": BOUND, "tau_rel": RULE},
    "restart": {"bound": BOUND, "rules": replace(RULES, after_pick="restart"), "tau_rel": RULE},
    "turns": {"rules": replace(RULES, turns=True), "tau_rel": RULE},
    "trust in turns": {"rules": replace(RULES, turns=True), "bound": BOUND, "tau_rel": RULE},
    "stale": {"rules": replace(RULES, batch="stale"), "bound": BOUND},
    "stale in turns": {"rules": replace(RULES, batch="stale", turns=True), "bound": BOUND},
    "offers": {"trigger": ForceTrigger(0.2), "n_steps": 24},
    "joint": {"rules": JOINT, "bound": BOUND, "n_steps": 24},
    "joint in turns": {"rules": replace(JOINT, turns=True), "bound": BOUND, "n_steps": 24},
}


@pytest.mark.parametrize(
    ("way", "n_walkers", "rule"),
    [
        ("tau_rel", 1, CROSSING),
        ("tau_rel", 4, CROSSING),
        pytest.param("tau", 4, PEAK, marks=pytest.mark.slow),
        pytest.param("chain", 4, CROSSING, marks=pytest.mark.slow),
        pytest.param("rollbacks", 2, PEAK, marks=pytest.mark.slow),
        pytest.param("ramp", 2, CROSSING, marks=pytest.mark.slow),
        pytest.param("any", 2, PEAK, marks=pytest.mark.slow),
        ("trust", 2, CROSSING),
        pytest.param("restart", 2, CROSSING, marks=pytest.mark.slow),
        ("turns", 2, CROSSING),
        pytest.param("turns", 2, PEAK, marks=pytest.mark.slow),
        pytest.param("trust in turns", 2, CROSSING, marks=pytest.mark.slow),
        pytest.param("stale", 2, CROSSING, marks=pytest.mark.slow),
        pytest.param("stale in turns", 2, CROSSING, marks=pytest.mark.slow),
        ("offers", 2, CROSSING),
        ("joint", 2, CROSSING),
        pytest.param("joint in turns", 2, CROSSING, marks=pytest.mark.slow),
    ],
)
def test_from_the_store_at_every_barrier(little_data, tmp_path, n_walkers, way, rule):
    """All that goes on is what was read back, with new calculators, after every barrier."""
    options = {"trigger": ForceTrigger(0.1)} | WAYS[way]
    starts = [FIXED, START, cluster("Cu4", 1), copper(2, 0.05)][:n_walkers]
    surrogate, fires = little_data, way != "offers"
    if "bound" in options:
        known = [(atoms, little_data.energy(atoms)) for atoms in starts]
        surrogate = replace(little_data, energy_weights=EnergyWeights(0.1).extended(known))
        options["start"] = START
    setup = setup_for(surrogate, **options)
    setup = replace(setup, rules=replace(setup.rules, pick=rule))
    joint = setup.rules.batch == "joint"
    if not fires:  # the first walker picks once, the others fire nothing
        plans = [replace(p, checks=(LazyCheck(NEVER),)) for p in setup.plans]
        plans[0] = replace(plans[0], checks=(LazyCheck(EnergyTrigger(1e-9)),))
        once = replace(setup.rules, pick=PickRule(spacing=99, settling_fs=0))
        setup = replace(setup, plans=tuple(plans), rules=once)
    whole, _ = explored(setup, started(starts), 4)
    store, state, first = Store(tmp_path), started(starts), surrogate
    barriers, waited, offered = 0, False, False
    while len(state.picks) < 4 and state.alive:
        found = explore_to_barriers(state, surrogate, setup, LocalExecutor(setup), 4)
        state, surrogate = next(found)
        waited = waited or any(walker.waiting.peak is not None for walker in state.walkers)
        offered = offered or any(walker.offers for walker in state.walkers)
        store.exploration(1).save(state, surrogate.posterior)
        state, posterior = store.exploration(1).load(starts)
        surrogate = replace(first, posterior=posterior)
        barriers += 1
    assert barriers == len(whole) - 1 > 2
    assert waited == (rule is PEAK)
    assert offered == (not joint)
    if joint:
        assert len(state.candidates) > 2
        state, expected = (choose_batch(s, setup, 4, Targets()) for s in (state, whole[-1]))
        store.exploration(1).save(state, surrogate.posterior)
        state, _ = store.exploration(1).load(starts)
        whole = [expected]
    assert len(whole[-1].picks) > 0
    if not fires:
        assert state.picks[0].walker == 0
        assert all(pick.reason.startswith(OFFERED) for pick in state.picks[1:])
        assert len(state.picks) > 1
    if way == "rollbacks":
        assert sum(walker.driver.rollbacks for walker in state.walkers) > 0
    assert (state.returns > 0) == ("bound" in options)
    assert [p.structure_id for p in state.picks] == [p.structure_id for p in whole[-1].picks]
    assert_same_states(state, whole[-1])
    for ours, theirs in zip(state.picks, whole[-1].picks, strict=True):
        known = (theirs.temperature_K, theirs.tau, theirs.report, theirs.number)
        assert (ours.temperature_K, ours.tau, ours.report, ours.number) == known
    if starts[0] is FIXED:
        assert state.walkers[0].atoms.constraints[0].index.tolist() == [0, 3]
        fixed = state.walkers[0].atoms.positions[[0, 3]]
        np.testing.assert_array_equal(fixed, FIXED.positions[[0, 3]])


@pytest.mark.slow
@settings(max_examples=5)
@given(seed=st.integers(0, 1000), n_walkers=st.integers(1, 3), left=st.integers(1, 5))
def test_left_at_any_barrier(little_data, seed, n_walkers, left):
    starts = [START, copper(2, 0.05), cluster("Cu4", 1)][:n_walkers]
    setup = setup_for(little_data, ForceTrigger(0.1), n_steps=24, tau_rel=RULE)
    whole, surrogate = explored(setup, started(starts, seed), limit=3)
    barriers = explore_to_barriers(
        started(starts, seed), little_data, setup, LocalExecutor(setup), 3
    )
    *_, (state, known) = islice(barriers, left)
    again, last = explored(setup, state, 3, known)
    assert_same_states(again[-1], whole[-1])
    np.testing.assert_array_equal(
        last.posterior.precision_factor, surrogate.posterior.precision_factor
    )


def test_states_are_left_alone(little_data):
    state = started([START, copper(2, 0.05)])
    before = [(w.atoms.copy(), dict(w.rng_state)) for w in state.walkers]
    explored(setup_for(little_data, ForceTrigger(0.1)), state)
    for walker, (atoms, rng_state) in zip(state.walkers, before, strict=True):
        assert walker.atoms == atoms
        assert walker.rng_state == rng_state
    assert state.picks == ()
    assert state.trace.shape == (0, len(TRACE_COLUMNS))


def test_a_relative_trigger_counts_forces_once(little_data):
    """Its criterion needs unbiased forces, which must not enter the averages twice."""
    setup = setup_for(little_data, RelativeForceTrigger(1e9), n_steps=12, tau_rel=RULE)
    states, _ = explored(setup, started([START]))
    assert [s.walkers[0].evaluated.tau_state.after.n for s in states[1:-1]] == [5, 9, 13]


# the pick rule


def test_a_peak_is_picked_when_the_criterion_has_fallen(little_data):
    setup = setup_for(little_data, ForceTrigger(0.1), n_steps=80)
    (*_, state), _ = explored(setup, started([START]), 1, rule=PEAK)
    (pick,) = state.picks
    step, last = pick.step, state.walkers[0].step
    assert last >= step + PEAK.patience
    values = {row[1]: row[4] for row in state.trace}
    assert values[step] == max(values.values()) == pick.report.value
    assert state.trace[state.trace[:, -1] == 1][:, 1].tolist() == [step]
    crossing, _ = explored(setup, started([START]), 1)
    assert crossing[-1].picks[0].step < step


def test_a_peak_that_waits_at_the_end_is_picked(little_data):
    setup = setup_for(little_data, EnergyTrigger(-1.0), n_steps=10)
    (*_, state), _ = explored(
        setup, started([START]), 5, rule=PickRule("peak", patience=99, settling_fs=0)
    )
    assert [p.step for p in state.picks] == [max((4, 8), key=energy_std_at(state))]
    assert not state.alive


def energy_std_at(state):
    return {int(row[1]): row[3] for row in state.trace}.get


def test_a_pick_of_another_voids_a_peak_that_waits(little_data):
    """What the criterion was under the old surrogate says nothing under the new one."""
    rule = PickRule("peak", patience=8, settling_fs=0)
    setup = setup_for(little_data, ForceTrigger(0.1), n_steps=40)
    states, _ = explored(setup, started([START, copper(2, 0.05), FIXED]), 9, rule=rule)
    assert len(states[-1].picks) > 1
    for before, after in pairwise(states):
        if len(after.picks) > len(before.picks):
            assert all(walker.waiting.peak is None for walker in after.walkers)


def test_picks_of_one_walker_keep_their_distance(little_data):
    rules = replace(RULES, offers="never")
    setup = setup_for(little_data, ForceTrigger(0.02), n_steps=60, rules=rules)
    rule = PickRule(spacing=16, settling_fs=0)
    (*_, state), _ = explored(setup, started([START, FIXED]), 9, rule=rule)
    for walker in range(2):
        steps = [p.step for p in state.picks if p.walker == walker]
        assert len(steps) > 1
        assert min(np.diff(steps)) >= 16


@needs_mace
@pytest.mark.parametrize("turns", [False, True], ids=["lockstep", "turns"])
def test_checks_that_are_skipped_have_rows_without_a_value(turns):
    """A lazy check of what never fires is evaluated once; the trace shows every check."""
    mlip = mace_calculator(tiny_mace())
    fitted = fit_surrogate(copper_training()[:3], MACEDescriptor(mlip), e0s="average")
    setup = replace(
        setup_for(fitted, NEVER, n_steps=12, rules=replace(RULES, turns=turns)),
        make_calculator=partial(BiasedCalculator, mlip, tau=0.5, force_search=ForceSearch()),
    )
    trace = explored(setup, started([START]))[0][-1].trace
    assert trace[:, STEP].tolist() == [4, 8, 12]
    assert np.isfinite(trace[:, VALUE]).tolist() == [True, False, False]
    known = np.delete(trace, VALUE, axis=1)
    assert np.isfinite(known).all()
    assert (trace[:, [TEMPERATURE, ENERGY_STD, TAU]] > 0).all()


# batches


@needs_mace
@pytest.mark.slow
def test_batches_make_the_same_picks_within_rounding():
    """Four walkers of different sizes that share passes through a MACE model."""
    mlip = mace_calculator(tiny_mace())
    surrogate = fit_surrogate(copper_training(), MACEDescriptor(mlip), e0s="average")
    setup = replace(
        setup_for(
            surrogate, RelativeForceTrigger(0.02), 16, driven={"guards": Guards(max_force=1e3)}
        ),
        make_calculator=partial(BiasedCalculator, mlip, tau_rel=RULE),
    )
    starts = [copper(21, 0.05), cluster("Cu5", 4), copper(23, 0.05, repeat=(1, 1, 2))]
    found = [
        explored(setup, started(starts), 4, executor=LocalExecutor(setup, batched))[0][-1]
        for batched in (True, False)
    ]
    together, alone = found
    assert len(together.picks) >= 2
    np.testing.assert_allclose(together.trace, alone.trace, rtol=1e-6)
    for ours, theirs in zip(together.picks, alone.picks, strict=True):
        np.testing.assert_allclose(ours.structure.positions, theirs.structure.positions, atol=1e-7)
    for ours, theirs in zip(together.walkers, alone.walkers, strict=True):
        np.testing.assert_allclose(ours.atoms.positions, theirs.atoms.positions, atol=1e-9)
        assert ours.rng_state == theirs.rng_state
