"""The energies of walkers' starts, which no trigger by forces sees."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers import lockstep
from helpers.campaigns import campaign_settings
from helpers.lockstep import RULES, assert_same_states, explored, started
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, BiasedCalculator, ForceTrigger, fit_surrogate
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.exploration import explore_to_barriers
from ase_bayesel.campaign.exploration.barriers import pass_barrier
from ase_bayesel.campaign.exploration.blocks import BlockResult, look_again
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.picks import TriggerEvent
from ase_bayesel.campaign.exploration.rules import StartEnergy
from ase_bayesel.campaign.exploration.trace import PICKED, VALUE
from ase_bayesel.dynamics.triggers import PickRule
from ase_bayesel.dynamics.trust import TrustBound
from ase_bayesel.dynamics.walker_step import WalkerStep
from ase_bayesel.surrogate.design import Noise

START = copper(1, 0.02, repeat=(1, 1, 2))
STRAINED = START.copy()
STRAINED.set_cell(1.06 * START.cell, scale_atoms=True)
NEVER = ForceTrigger(1e9)
setup_for = partial(lockstep.setup_for, start=START)


@pytest.fixture(scope="module")
def little_data():
    """A surrogate of five small structures, whose uncertainty has far to fall."""
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=8))
    return replace(fitted, noise=Noise(1e-3, 0.1, 0.1))


def rules(limit, **changes):
    return replace(RULES, start_energy=limit, **{"offers": "never"} | changes)


def per_atom(surrogate, atoms):
    """What the limit is compared with, eV/atom."""
    return surrogate.scales.energy.value * surrogate.energy_std(atoms) / len(atoms)


def known_after_a_pick(surrogate):
    """A limit that the start exceeds, and no more when it is known."""
    before, after = per_atom(surrogate, START), per_atom(surrogate.condition(START), START)
    assert after < 0.7 * before
    return 0.5 * (before + after)


def picked(setup, starts):
    states, _ = explored(setup, started(starts))
    return states, states[-1].picks


def test_a_start_is_picked_once(little_data):
    limit = 0.5 * per_atom(little_data, START)
    setup = setup_for(little_data, NEVER, n_steps=40, rules=rules(limit))
    states, picks = picked(setup, [START])
    assert [pick.step for pick in picks] == [4]  # the first look, at which nothing else fires
    assert picks[0].report.name == "start_energy"
    assert picks[0].report.value > limit
    assert picks[0].reason.startswith("start_energy ")
    assert states[-1].trace[0, VALUE] < 1.0  # eV/A: the trace shows what triggers see
    assert states[-1].trace[:, PICKED].tolist() == [1.0] + 9 * [0.0]
    assert picked(setup_for(little_data, NEVER, n_steps=40, rules=rules(None)), [START])[1] == ()


def test_only_starts_that_the_picks_before_do_not_resemble(little_data):
    """Two walkers from one structure and one from a strained cell: a pick of each cell."""
    limit = known_after_a_pick(little_data)
    assert per_atom(little_data.condition(START), STRAINED) > limit
    setup = setup_for(little_data, NEVER, n_steps=16, rules=rules(limit))
    starts = [START, START, STRAINED]
    plans = tuple(replace(setup.plans[0], start=start) for start in starts)
    _, picks = picked(replace(setup, plans=plans), starts)
    assert [pick.walker for pick in picks] == [0, 2]


def test_it_is_looked_at_when_the_walker_has_settled(little_data):
    settled = rules(1e-9, pick=PickRule(settling_fs=10.0), timestep_fs=1.0)
    _, picks = picked(setup_for(little_data, NEVER, n_steps=40, rules=settled), [START])
    assert [pick.step for pick in picks] == [12]  # the first look that is not before 10 fs


def test_once_for_each_start_of_a_round(little_data):
    """Also where a pick hardly lowers the deviation, as with the features of a network."""
    again = rules(1e-9, after_pick="restart")
    setup = setup_for(little_data, NEVER, n_steps=30, rules=again)
    _, picks = picked(setup, [START])
    assert [pick.step for pick in picks] == [4]
    starts = [START, STRAINED, START, STRAINED]
    plans = tuple(replace(setup.plans[0], start=start) for start in starts)
    _, picks = picked(replace(setup, plans=plans), starts)
    assert [pick.walker for pick in picks] == [0, 1]


def test_where_lazy_checks_saw_nothing_else_nothing_is_offered(little_data):
    """As of the second walker from a start that has its pick."""
    limit, walker = StartEnergy(1e-9), started([START, START]).walkers[1]
    calculator = BiasedCalculator(little_data.calculator(), little_data)
    calculator.get_forces(START)
    report = limit(calculator.prediction, START)
    step = WalkerStep(4, START, calculator.prediction, 300.0, (report,), checked=True)
    event = TriggerEvent.of(step)
    assert event.at_start
    assert event.deviations is not None
    states, _ = explored(
        setup_for(little_data, NEVER, n_steps=4, rules=rules(1e-9)), started([START])
    )
    first, rest = states[-1], rules(1e-9, offers="always")
    state = replace(first, walkers=(*first.walkers, walker))
    results = {1: BlockResult(replace(walker, step=4), event)}
    after, _ = pass_barrier(state, little_data, results, None, 5, rest, [START, START])
    assert len(after.picks) == 1
    assert after.walkers[1].offers == ()


def test_no_walker_is_sent_back(little_data):
    """The bound follows the trigger, and a constant energy moves no atom."""
    setup = setup_for(
        little_data, NEVER, n_steps=24, rules=rules(1e-9), bound=TrustBound(factor=1e9)
    )
    states, picks = picked(setup, [START])
    assert picks
    assert states[-1].walkers[0].driver.returns == ()


def test_goes_on_from_each_barrier(little_data):
    limit = 0.5 * per_atom(little_data, START)
    setup = setup_for(little_data, ForceTrigger(0.15), n_steps=40, rules=rules(limit))
    first = started([START]), little_data
    whole = list(explore_to_barriers(*first, setup, LocalExecutor(setup), 5))
    assert {pick.report.name for pick in whole[-1][0].picks} == {"force", "start_energy"}
    for state, surrogate in whole[:-1]:
        *_, (last, _) = explore_to_barriers(state, surrogate, setup, LocalExecutor(setup), 5)
        assert_same_states(last, whole[-1][0])


def test_a_pick_is_seen_again_by_the_same_limit(little_data):
    limit = known_after_a_pick(little_data)
    setup = setup_for(little_data, NEVER, n_steps=8, rules=rules(limit))
    _, (pick,) = picked(setup, [START])
    event = look_again(setup, pick, little_data)
    assert event.fired.name == StartEnergy.kind
    np.testing.assert_allclose(event.fired.value, per_atom(little_data, pick.structure))
    assert look_again(setup, pick, little_data.condition(pick.structure)).fired is None


def test_the_limit_of_a_config():
    auto = validate_config(campaign_settings({"explore.temperature_K": 800}), "").explore
    assert auto.start_energy_limit == pytest.approx(0.05 * 0.0689384, rel=1e-4)
    given = campaign_settings({"explore.start_energy": 0.002})
    assert validate_config(given, "").explore.start_energy_limit == 0.002
    none = campaign_settings({"explore.start_energy": None})
    assert validate_config(none, "").explore.start_energy_limit is None


def test_a_start_counts_where_a_force_fires_too(little_data):
    """The pick before lowers the force of the second walker below its threshold, not the energy."""
    known = little_data.condition(STRAINED)
    limit = 0.8 * per_atom(known, START)
    setup = setup_for(little_data, ForceTrigger(0.1), n_steps=4, rules=rules(limit))
    starts = [STRAINED, START]
    plans = tuple(replace(setup.plans[0], start=start) for start in starts)
    _, picks = picked(replace(setup, plans=plans), starts)
    assert [pick.walker for pick in picks] == [0, 1]


@pytest.mark.parametrize("batch", ["stale", "joint"])
def test_without_update_starts_would_be_picked_again_and_again(little_data, batch):
    setup = setup_for(little_data, NEVER, n_steps=12, rules=rules(1e-9, batch=batch))
    assert picked(setup, [START, START])[1] == ()


def test_a_batch_is_not_filled_up_for_its_starts(little_data):
    filled = rules(known_after_a_pick(little_data), offers="fired")
    _, picks = picked(setup_for(little_data, NEVER, n_steps=40, rules=filled), [START])
    assert [pick.step for pick in picks] == [4]
