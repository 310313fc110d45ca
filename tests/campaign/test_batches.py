"""How the frames of a round become its batch: stale, restarts, offers, early refits, joint."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.lockstep import RULES, assert_same_atoms, explored, setup_for, started
from helpers.structures import cluster, copper, copper_training
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    ACEDescriptor,
    EnergyTrigger,
    ForceTrigger,
    Guards,
    NoseHooverChain,
    TauRule,
    fit_surrogate,
)
from ase_bayesel.campaign.exploration import (
    EarlyRefit,
    ExploreState,
    RoundRules,
    Targets,
    choose_batch,
    pass_barrier,
)
from ase_bayesel.campaign.exploration.barriers import OFFERED
from ase_bayesel.campaign.exploration.blocks import look_again
from ase_bayesel.campaign.exploration.choice import CHOSEN
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.dynamics.triggers import LazyCheck, PickRule
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.errors import StructureError
from ase_bayesel.selection.select import select
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.surrogate.design import Noise

START, OTHER = copper(1, 0.02, repeat=(1, 1, 2)), copper(2, 0.05)
NEVER, ALWAYS, SOMETIMES = ForceTrigger(1e9), EnergyTrigger(-1.0), ForceTrigger(0.1)
STALE, JOINT = replace(RULES, batch="stale"), replace(RULES, batch="joint", candidate_interval=8)
ANYWHERE = TrustBound(absolute=1e-9, factor=None, energy=None)
"""A bound that is met at every check."""


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=8))
    return replace(fitted, noise=Noise(0.1, 0.1, 0.1))


def with_plans(setup, **of_walker):
    """A setup in which some fields of the plans differ; one value per walker."""
    plans = list(setup.plans)
    for name, values in of_walker.items():
        plans = [replace(p, **{name: v}) for p, v in zip(plans, values, strict=False)]
    return replace(setup, plans=tuple(plans))


def with_triggers(setup, *triggers):
    return with_plans(setup, checks=[(LazyCheck(trigger),) for trigger in triggers])


def in_one_go(setup, number=0, atoms=START):
    """All steps of a walker that is never left."""
    plan, calculator = setup.plans[number], setup.make_calculator(setup.surrogate)
    rng = np.random.default_rng([0, number])
    return list(plan.run(atoms, calculator, rng=rng, triggers=plan.checks, trust=plan.trust))


def information(surrogate, picks):
    """What picks together add to the log determinant of the precision."""
    rows = [surrogate.rows(pick.structure) for pick in picks]
    return surrogate.posterior.information_gain(np.concatenate(rows))


def largest_force_std(surrogate, atoms):
    return surrogate.uncertainty(atoms).forces.max()


# stale


def test_a_stale_batch_makes_no_update(little_data):
    states, surrogate = explored(
        setup_for(little_data, SOMETIMES, rules=STALE), started([START, OTHER]), 6
    )
    assert surrogate is little_data
    picks = states[-1].picks
    assert len(picks) == 6
    for pick in picks:
        seen = largest_force_std(little_data, pick.structure)
        assert pick.report.value == pytest.approx(seen, rel=1e-6)
    for state in states[1:]:
        assert all(w.evaluated is not None for w in state.walkers if w.status == "running")


def test_a_stale_batch_is_not_looked_at_again(little_data):
    """Twins are both picked, though the second would no longer fire after an update."""
    setup = setup_for(little_data, SOMETIMES, check_interval=8, rules=STALE)
    results = LocalExecutor(setup).advance(started([START]).living, 8, little_data)
    near = results[0].walker.atoms.copy()
    near.positions[0, 0] += 1e-3
    event, walker = (replace(x, atoms=near) for x in (results[0].event, results[0].walker))
    both = {0: results[0], 1: replace(results[0], event=event, walker=walker)}

    def nobody(pick, surrogate):
        raise AssertionError("was looked at again")

    state, after = pass_barrier(
        started([START] * 2), little_data, both, nobody, 5, STALE, [START] * 2
    )
    assert [pick.walker for pick in state.picks] == [0, 1]
    assert after is little_data
    updated = little_data.condition(state.picks[0].structure)
    assert largest_force_std(updated, near) < SOMETIMES.threshold


# where a walker goes on


@pytest.mark.parametrize("batch", ["first", "stale"])
def test_after_a_pick_a_walker_is_at_its_start_with_new_momenta(little_data, batch):
    rules = replace(RULES, batch=batch, after_pick="restart")
    setup = setup_for(
        little_data,
        ALWAYS,
        start=START,
        rules=rules,
        driven={"ensemble": NoseHooverChain(time_constant_fs=20.0)},
        tau_rel=TauRule(0.3, delay=3, memory=7),
    )
    setup = with_triggers(setup, ALWAYS, NEVER)
    states, _ = explored(setup, started([START, START]), limit=3)
    assert [state.walkers[0].step for state in states] == [0, 4, 8, 12]
    assert [pick.step for pick in states[-1].picks] == [4, 8, 12]
    for state in states[1:]:
        walker = state.walkers[0]
        np.testing.assert_array_equal(walker.atoms.positions, START.positions)
        assert not walker.atoms.get_momenta().any()
        assert walker.since == walker.step
        assert walker.driver.variables == {}
        assert walker.driver.tau.n == 0
        assert walker.evaluated is None
    # other momenta lead elsewhere
    first, second, third = (pick.structure.positions for pick in states[-1].picks)
    assert min(np.abs(first - second).max(), np.abs(second - third).max()) > 1e-3
    other = states[-1].walkers[1]
    assert other.since == 0
    assert np.abs(other.atoms.positions - START.positions).max() > 1e-3


def test_a_restart_keeps_the_counts(little_data):
    guarded = {"guards": Guards(max_temperature_K=2200.0), "max_rollbacks": 99}
    bound = TrustBound(absolute=0.1, factor=None, energy=None)
    rules = replace(RULES, after_pick="restart", pick=PickRule(spacing=12, settling_fs=0.0))
    setup = setup_for(
        little_data, ALWAYS, 120, driven=guarded, start=START, bound=bound, rules=rules
    )
    states, _ = explored(setup, started([START]))
    drivers = [state.walkers[0].driver for state in states[1:]]
    counts = np.array([(len(driver.returns), driver.rollbacks) for driver in drivers])
    assert (np.diff(counts, axis=0) >= 0).all()
    assert counts[-1].min() > 0
    assert len(states[-1].picks) == 5


# settling


def settling(time_fs, **changes):
    return replace(RULES, pick=PickRule(settling_fs=time_fs), **changes)


@pytest.mark.parametrize(
    ("after_pick", "steps"), [("go_on", [12, 16, 20, 24]), ("restart", [12, 24, 36, 48])]
)
def test_no_pick_before_a_walker_has_settled(little_data, after_pick, steps):
    """At 2 fs a step and a check every 4 steps, 20 fs end at the third check of a life."""
    setup = setup_for(little_data, ALWAYS, start=START, rules=settling(20.0, after_pick=after_pick))
    (*_, state), _ = explored(setup, started([START]), limit=4)
    assert [pick.step for pick in state.picks] == steps
    assert state.walkers[0].fired
    assert state.trace[:2, -1].tolist() == [0, 0]


def test_a_frame_at_the_bound_is_picked_before_the_walker_has_settled(little_data):
    setup = setup_for(little_data, ALWAYS, start=START, bound=ANYWHERE, rules=settling(20.0))
    (*_, state), _ = explored(setup, started([START]), limit=3)
    assert [pick.step for pick in state.picks] == [4, 8, 12]
    walker = state.walkers[0]
    assert (walker.driver.returns, walker.since, walker.bound_after) == ((4, 8, 12), 12, 4)


def test_settling_is_rounded_up_to_whole_steps():
    rules = RoundRules(PickRule(settling_fs=1.0), timestep_fs=0.1)
    (walker,) = started([START]).walkers
    settled = [step for step in range(15) if rules.settled(replace(walker, step=step))]
    assert settled[0] == 10
    later = replace(walker, since=3)
    assert not rules.settled(replace(later, step=12))
    assert rules.settled(replace(later, step=13))


# offers

ONCE = PickRule(spacing=1000, settling_fs=0.0)


def values_of(state, walker):
    """The criterion of a walker by step."""
    rows = state.trace[state.trace[:, 0] == walker]
    return {int(step): value for step, value in rows[:, [1, 4]]}


def offering(surrogate, *triggers, batch="first", pick=ONCE, n_steps=16, **options):
    rules = replace(RULES, batch=batch, pick=pick)
    setup = setup_for(surrogate, NEVER, n_steps, start=START, rules=rules, **options)
    return with_triggers(setup, *triggers)


@pytest.mark.parametrize(("batch", "known"), [("first", [8, 12, 16]), ("stale", [4, 8, 12, 16])])
def test_a_batch_is_filled_up_with_the_most_uncertain_frame(little_data, batch, known):
    """Of those that were seen since the posterior last changed, which was at step 4."""
    setup = offering(little_data, ALWAYS, NEVER, batch=batch)
    (*_, before, state), surrogate = explored(setup, started([START, OTHER]), limit=3)
    assert [(p.walker, p.step) for p in before.picks] == [(0, 4)]
    assert not state.alive
    *taken, offer = state.picks
    values = values_of(before, 1)
    assert (offer.walker, offer.step) == (1, max(known, key=values.get))
    assert offer.reason.startswith(OFFERED)
    assert not offer.report.fired
    assert offer.number == 2
    earlier = [pick.structure for pick in taken]
    then = little_data.condition(earlier) if batch == "first" else little_data
    seen = largest_force_std(then, offer.structure)
    assert offer.report.value == pytest.approx(seen, rel=1e-6)
    of_walker = state.trace[state.trace[:, 0] == offer.walker]
    row = of_walker[of_walker[:, 1] == offer.step]
    assert row[:, -1].tolist() == [1]
    assert (offer.temperature_K, offer.tau) == (row[0, 2], row[0, 5])
    if batch == "first":
        expected = then.condition(offer.structure).posterior.precision_factor
        np.testing.assert_allclose(surrogate.posterior.precision_factor, expected, rtol=1e-9)


def test_a_later_offer_is_looked_at_under_the_updated_surrogate(little_data):
    setup = offering(little_data, ALWAYS, NEVER, NEVER)
    (*_, before, state), _ = explored(setup, started([cluster("Cu4", 1), START, START]), limit=3)
    taken, first, second = state.picks
    updated = little_data.condition(taken.structure)
    was = largest_force_std(updated, second.structure)
    now = largest_force_std(updated.condition(first.structure), second.structure)
    assert now < was
    assert values_of(before, second.walker)[second.step] == pytest.approx(was, rel=1e-6)
    assert second.report.value == pytest.approx(now, rel=1e-6)
    assert values_of(state, second.walker)[second.step] == second.report.value


@pytest.mark.parametrize("batch", ["first", "stale"])
def test_nothing_is_offered_where_nothing_has_fired(little_data, batch):
    setup = offering(little_data, NEVER, NEVER, batch=batch)
    (*_, state), surrogate = explored(setup, started([START, START]))
    assert not state.alive
    assert state.picks == ()
    assert all(walker.offers for walker in state.walkers)
    assert surrogate is little_data


def test_no_frame_at_the_bound_is_offered(little_data):
    """That walkers met a bound is a reason for the others to offer."""
    setup = offering(little_data, NEVER, NEVER)
    setup = with_plans(setup, trust=[ANYWHERE.against(little_data, START), None])
    (*_, state), _ = explored(setup, started([START, START]))
    assert [walker.fired for walker in state.walkers] == [True, False]
    assert state.walkers[0].driver.returns == (4, 8, 12, 16)
    assert [pick.walker for pick in state.picks] == [1]


def test_no_frame_is_offered_before_the_walker_has_settled(little_data):
    pick = replace(ONCE, settling_fs=24.0)
    setup = offering(little_data, ALWAYS, NEVER, NEVER, pick=pick, batch="stale", n_steps=14)
    (*_, state), _ = explored(setup, started([START, START, START]))
    assert sorted((p.walker, p.step) for p in state.picks) == [(0, 12), (1, 12), (2, 12)]


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_offers_keep_to_the_limit(little_data, limit):
    setup = offering(little_data, ALWAYS, NEVER, NEVER)
    (*_, state), _ = explored(setup, started([cluster("Cu4", 1), START, START]), limit)
    assert [pick.reason.startswith(OFFERED) for pick in state.picks] == [False, True, True, True][
        :limit
    ]


@pytest.mark.parametrize(
    ("offers", "fires", "n_picks"),
    [("never", True, 2), ("fired", True, 4), ("fired", False, 0), ("always", False, 2)],
)
def test_in_which_rounds_a_batch_is_filled_up(little_data, offers, fires, n_picks):
    setup = offering(little_data, *([ALWAYS if fires else NEVER] * 2))
    setup = replace(setup, rules=replace(setup.rules, offers=offers))
    (*_, state), _ = explored(setup, started([START, START]), limit=9)
    assert not state.alive
    assert len(state.picks) == n_picks
    assert all(pick.report.fired or pick.reason.startswith(OFFERED) for pick in state.picks)


def test_a_walker_offers_a_frame_of_each_of_its_windows(little_data):
    setup = offering(little_data, NEVER, batch="stale", n_steps=32)
    rules = replace(setup.rules, offers="always", offer_interval=8)
    (*_, state), _ = explored(replace(setup, rules=rules), started([START]), limit=9)
    values = values_of(state, 0)
    windows = [[4], [8, 12], [16, 20], [24, 28], [32]]
    expected = [max(window, key=values.get) for window in windows]
    # the frame of the last step is that of a walker that has ended
    assert [offer.step for offer in state.walkers[0].offers] == expected[:-1]
    assert sorted(pick.step for pick in state.picks) == sorted(expected[:-1])


# early

EARLY = RoundRules(timestep_fs=2.0, early_refit=EarlyRefit(min_picks=2, soon_fs=20.0))


def made_up(n_picks, *walkers):
    """A state of walkers as (step, since, bound_after) or a status."""
    (walker,) = started([START]).walkers
    found = []
    for life in walkers:
        if isinstance(life, str):
            found.append(replace(walker, status=life, step=4))
        else:
            step, since, bound_after = life
            found.append(replace(walker, step=step, since=since, bound_after=bound_after))
    return ExploreState(tuple(found), picks=(None,) * n_picks)


@pytest.mark.parametrize(
    ("n_picks", "walkers", "full"),
    [
        (2, [(8, 8, 8)], True),
        (1, [(8, 8, 8)], False),
        (2, [(8, 0, None)], False),
        (2, [(20, 12, 10)], True),
        (2, [(20, 12, 11)], False),  # it came further than 20 fs
        (2, [(30, 20, 4)], True),
        (2, [(31, 20, 4)], False),  # it has lived longer than 20 fs
        (2, [(8, 8, 8), (8, 0, None)], False),
        (2, [(8, 8, 8), "finished"], True),
        (2, [(8, 8, 8), "force"], True),
        (2, ["finished", "force"], False),  # nobody runs
        (0, [], False),
    ],
)
def test_a_batch_is_full_early_where_all_that_run_soon_meet_their_bound(n_picks, walkers, full):
    state = made_up(n_picks, *walkers)
    assert EARLY.is_full(state) == full
    assert not replace(EARLY, early_refit=None).is_full(state)


LIVES = st.tuples(st.integers(0, 30), st.integers(0, 30), st.none() | st.integers(0, 30)).map(
    lambda life: (life[0] + life[1], *life[1:])
)


@given(st.integers(0, 4), st.lists(LIVES | st.just("finished"), min_size=1, max_size=4))
def test_a_full_batch_stays_full_with_more_picks_and_fewer_walkers(n_picks, walkers):
    if not EARLY.is_full(made_up(n_picks, *walkers)):
        return
    assert n_picks >= 2
    assert EARLY.is_full(made_up(n_picks + 1, *walkers))
    running = [walker for walker in walkers if walker != "finished"]
    for walker in running:
        assert EARLY.is_full(made_up(n_picks, walker))
        # later in the same life it may be that no longer
        longer = (walker[0] + 11, *walker[1:])
        assert not EARLY.is_full(made_up(n_picks, *walkers, longer))


def test_walkers_stop_at_the_barrier_at_which_the_batch_is_full(little_data):
    rules = replace(RULES, early_refit=EarlyRefit(min_picks=3, soon_fs=20.0))
    setup = setup_for(little_data, ALWAYS, start=START, bound=ANYWHERE, rules=rules)
    (*before, state), _ = explored(setup, started([START, START]), limit=99)
    assert [len(one.picks) for one in (*before, state)] == [0, 2, 4]
    assert state.alive
    assert rules.has_ended(state, 99)
    assert not rules.has_ended(before[-1], 99)


# chosen together


def candidates_by_hand(setup, starts):
    """Identity, walker and step of every frame that is due or at a bound, in this order."""
    found = []
    for number, atoms in enumerate(starts):
        for step in in_one_go(setup, number, atoms):
            if step.beyond is not None:
                found.append((step.step, number, step.beyond.atoms))
            elif step.step and step.step % setup.rules.candidate_interval == 0:
                found.append((step.step, number, step.atoms))
    found.sort(key=lambda one: one[:2])
    return [(structure_id(canonical(atoms)), number, step) for step, number, atoms in found]


def joined(surrogate, trigger=SOMETIMES, starts=(START, OTHER), **options):
    """The setup and the state of a joint round whose walkers have ended."""
    options = {"n_steps": 32, "start": START, "rules": JOINT, **options}
    setup = setup_for(surrogate, trigger, **options)
    (*_, state), after = explored(setup, started(starts))
    assert after is surrogate
    assert not state.alive
    assert state.picks == ()
    return setup, state


@pytest.mark.parametrize("bound", [None, TrustBound(absolute=0.2, factor=None, energy=None)])
@pytest.mark.parametrize("turns", [False, True], ids=["lockstep", "turns"])
def test_candidates_are_the_frames_of_every_interval_and_those_at_the_bound(
    little_data, bound, turns
):
    starts = [START, START]
    setup, state = joined(
        little_data, starts=starts, bound=bound, rules=replace(JOINT, turns=turns)
    )
    expected = candidates_by_hand(setup, starts)
    found = [(c.structure_id, c.walker, c.step) for c in state.candidates]
    if turns:
        expected.sort(key=lambda one: one[1])
    assert found == expected
    at_bound = [step for _, _, step in found if step % 8]
    assert (len(at_bound) > 0) == (bound is not None)
    if bound is None:
        assert len(found) == 8


def test_candidates_settle_first_unless_they_are_at_the_bound(little_data):
    rules = replace(JOINT, pick=PickRule(settling_fs=40.0))
    _, free = joined(little_data, starts=[START], rules=rules)
    assert [c.step for c in free.candidates] == [24, 32]
    _, bound = joined(little_data, starts=[START], rules=rules, bound=ANYWHERE)
    assert [c.step for c in bound.candidates] == list(range(4, 33, 4))


@pytest.mark.parametrize("targets", [Targets(), Targets(1)], ids=["all", "second walker"])
def test_the_batch_is_the_i_optimal_design_of_the_candidates(little_data, targets):
    setup, state = joined(little_data)
    chosen = choose_batch(state, setup, 3, targets)
    frames = [c.structure for c in state.candidates]
    aims = [c.structure for c in state.candidates if c.walker >= targets.first_walker]
    expected = select(frames, 3, "i_optimal", core=little_data, targets=aims)
    assert [p.structure_id for p in chosen.picks] == [
        state.candidates[k].structure_id for k in expected.indices
    ]
    assert [p.number for p in chosen.picks] == [0, 1, 2]
    origins = {c.structure_id: (c.walker, c.step) for c in state.candidates}
    for pick in chosen.picks:
        assert (pick.walker, pick.step) == origins[pick.structure_id]
        assert pick.reason.startswith(CHOSEN)
        seen = largest_force_std(little_data, pick.structure)
        assert pick.report.value == pytest.approx(seen, rel=1e-6)
        row = chosen.trace[(chosen.trace[:, 0] == pick.walker) & (chosen.trace[:, 1] == pick.step)]
        assert row[:, -1].tolist() == [1]
        assert (pick.temperature_K, pick.tau) == (row[0, 2], row[0, 5])
    assert chosen.trace[:, -1].sum() == 3
    assert not state.trace[:, -1].any()
    for ours, theirs in zip(chosen.walkers, state.walkers, strict=True):
        assert_same_atoms(ours.atoms, theirs.atoms)


def test_what_the_batch_aims_at_changes_it(little_data):
    setup, state = joined(little_data, starts=[START, cluster("Cu4", 1)])
    ours, theirs = (
        [p.structure_id for p in choose_batch(state, setup, 3, targets).picks]
        for targets in (Targets(), Targets(1))
    )
    assert ours != theirs


def test_a_batch_can_aim_at_a_property_of_given_frames(little_data):
    setup, state = joined(little_data)
    strained, rest = copper(2, 0.1), copper(4, 0.0)
    for atoms, coefficient in ((strained, 1.0), (rest, -1.0)):
        atoms.info["coefficient"] = coefficient
    targets = Targets(frames=(strained, rest))
    np.testing.assert_array_equal(targets.coefficients, [[1.0, -1.0]])
    chosen = choose_batch(state, setup, 3, targets)
    frames = [c.structure for c in state.candidates]
    expected = select(
        *(frames, 3, "c_optimal"), core=little_data, targets=[strained, rest], coefficients=[1, -1]
    )
    assert [p.structure_id for p in chosen.picks] == [
        state.candidates[k].structure_id for k in expected.indices
    ]
    rest.info["property"] = "other"
    np.testing.assert_array_equal(targets.coefficients, [[1.0, 0.0], [0.0, -1.0]])
    del rest.info["coefficient"]
    with pytest.raises(StructureError, match="frame 1: has no 'coefficient'"):
        _ = targets.coefficients


def test_no_more_are_chosen_than_there_are(little_data):
    setup, state = joined(little_data, starts=[START])
    twice = replace(state, candidates=state.candidates * 2)
    chosen = choose_batch(twice, setup, 99, Targets())
    assert len(chosen.picks) == len(state.candidates)


def test_nothing_is_chosen_where_nothing_has_fired(little_data):
    setup, state = joined(little_data, NEVER)
    assert len(state.candidates) > 0
    assert choose_batch(state, setup, 3, Targets()) is state
    setup, state = joined(little_data, NEVER, [START, START], bound=ANYWHERE)
    assert all(walker.fired for walker in state.walkers)
    assert len(choose_batch(state, setup, 3, Targets()).picks) == 3


def test_a_joint_batch_carries_more_information_than_a_stale_one(little_data):
    """Of the same trajectories: neither updates, and stale takes near copies."""
    starts, frequent = [START, START], replace(JOINT, candidate_interval=4)
    setup, state = joined(little_data, starts=starts, rules=frequent)
    joint = choose_batch(state, setup, 4, Targets()).picks
    (*_, last), _ = explored(replace(setup, rules=STALE), started(starts), 4)
    assert len(last.picks) == len(joint) == 4
    steps = {(c.structure_id, c.walker, c.step) for c in state.candidates}
    assert {(p.structure_id, p.walker, p.step) for p in last.picks} <= steps
    assert information(little_data, joint) > 1.1 * information(little_data, last.picks)


def test_a_round_that_has_candidates_ends_with_the_choice(little_data):
    setup, state = joined(little_data)
    assert not JOINT.has_ended(state, 3)
    assert JOINT.has_ended(choose_batch(state, setup, 3, Targets()), 3)
    assert JOINT.has_ended(replace(state, candidates=()), 3)


def test_a_candidate_is_looked_at_as_a_pick_is(little_data):
    setup, state = joined(little_data, starts=[START])
    event = look_again(setup, state.candidates[0], little_data)
    deviations = little_data.uncertainty(state.candidates[0].structure)
    np.testing.assert_allclose(event.deviations.force_std, deviations.forces, rtol=1e-6)
    assert np.isnan(event.temperature_K)
