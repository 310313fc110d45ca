"""Walkers in lock-step as the tests start and compare them."""

from functools import partial
from types import MappingProxyType

import numpy as np

from ase_bayesel import BiasedCalculator, run_walker
from ase_bayesel.campaign.exploration import explore_in_lockstep, start_exploration
from ase_bayesel.campaign.exploration.blocks import WalkerPlan, WalkerSetup
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.pick_files import facts_of
from ase_bayesel.dynamics.triggers import LazyCheck, PickRule


def setup_for(
    surrogate,
    trigger,
    n_steps=60,
    check_interval=4,
    wrap=lambda mlip: mlip,
    driven=MappingProxyType({}),
    **bias,
):
    """How walkers run in these tests; the potential stays the first surrogate's mean."""
    mlip = surrogate.calculator()
    run = partial(
        run_walker,
        n_steps=n_steps,
        **{"temperature_K": 1500.0, "timestep_fs": 2.0, "check_interval": check_interval, **driven},
    )
    return WalkerSetup(
        surrogate,
        lambda newer: BiasedCalculator(wrap(mlip), newer, **(bias or {"tau": 0.5})),
        (WalkerPlan(run, (LazyCheck(trigger),), n_steps),) * 4,
        check_interval,
    )


def started(starts, seed=0):
    return start_exploration(starts, [np.random.default_rng([seed, k]) for k in range(len(starts))])


def explored(setup, state, limit=5, surrogate=None, executor=None, rule=PickRule()):
    """All states after a barrier, the last one last, and the last surrogate."""
    first = state, surrogate or setup.surrogate
    found = explore_in_lockstep(*first, setup, executor or LocalExecutor(setup), limit, rule)
    states, surrogates = zip(first, *found, strict=True)
    return states, surrogates[-1]


def assert_same_atoms(one, other):
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.get_momenta(), other.get_momenta())
    np.testing.assert_array_equal(one.cell.array, other.cell.array)


def assert_same_states(one, other):
    np.testing.assert_array_equal(one.trace, other.trace)
    assert [facts_of(p) for p in one.picks] == [facts_of(p) for p in other.picks]
    for ours, theirs in zip(one.walkers, other.walkers, strict=True):
        assert_same_atoms(ours.atoms, theirs.atoms)
        assert (ours.step, ours.status, ours.rng_state, ours.ratios) == (
            theirs.step,
            theirs.status,
            theirs.rng_state,
            theirs.ratios,
        )
        assert (ours.driver is None) == (theirs.driver is None)
        if ours.driver is not None:
            assert ours.driver.to_json() == theirs.driver.to_json()
