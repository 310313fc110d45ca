"""Walkers in lock-step as the tests start and compare them."""

from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np

from ase_bayesel import BiasedCalculator, run_walker
from ase_bayesel.campaign.exploration import RoundRules, explore_to_barriers, start_exploration
from ase_bayesel.campaign.exploration.blocks import WalkerPlan, WalkerSetup
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.pick_files import facts_of
from ase_bayesel.dynamics.triggers import LazyCheck, PickRule

CROSSING = PickRule(settling_fs=0.0)
RULES = RoundRules(CROSSING, timestep_fs=2.0)


def setup_for(
    surrogate,
    trigger,
    n_steps=60,
    check_interval=4,
    wrap=lambda mlip: mlip,
    driven=MappingProxyType({}),
    start=None,
    bound=None,
    rules=RULES,
    **bias,
):
    """How walkers run in these tests; the potential stays the first surrogate's mean."""
    mlip = surrogate.calculator()
    run = partial(
        run_walker,
        n_steps=n_steps,
        **{"temperature_K": 1500.0, "timestep_fs": 2.0, "check_interval": check_interval, **driven},
    )
    trust = None if bound is None else bound.against(surrogate, start)
    return WalkerSetup(
        surrogate,
        lambda newer: BiasedCalculator(wrap(mlip), newer, **(bias or {"tau": 0.5})),
        (WalkerPlan(run, start, (LazyCheck(trigger),), n_steps, trust),) * 4,
        check_interval,
        rules,
    )


def started(starts, seed=0):
    return start_exploration(starts, [np.random.default_rng([seed, k]) for k in range(len(starts))])


def explored(setup, state, limit=5, surrogate=None, executor=None, rule=None):
    """All states after a barrier, the last one last, and the last surrogate."""
    if rule is not None:
        setup = replace(setup, rules=replace(setup.rules, pick=rule))
    first = state, surrogate or setup.surrogate
    found = explore_to_barriers(*first, setup, executor or LocalExecutor(setup), limit)
    states, surrogates = zip(first, *found, strict=True)
    return states, surrogates[-1]


def assert_same_atoms(one, other):
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.get_momenta(), other.get_momenta())
    np.testing.assert_array_equal(one.cell.array, other.cell.array)


def assert_same_states(one, other):
    np.testing.assert_array_equal(one.trace, other.trace)
    assert [facts_of(p) for p in one.picks] == [facts_of(p) for p in other.picks]
    assert one.turn == other.turn
    ids = [[(c.structure_id, c.walker, c.step) for c in s.candidates] for s in (one, other)]
    assert ids[0] == ids[1]
    for ours, theirs in zip(one.walkers, other.walkers, strict=True):
        assert_same_atoms(ours.atoms, theirs.atoms)
        for name in ("step", "status", "rng_state", "ratios", "since", "bound_after", "fired"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert (ours.offer is None) == (theirs.offer is None)
        if ours.offer is not None:
            assert facts_of(ours.offer) == facts_of(theirs.offer)
        assert (ours.driver is None) == (theirs.driver is None)
        if ours.driver is not None:
            assert ours.driver.to_json() == theirs.driver.to_json()
