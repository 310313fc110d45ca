"""The bias of a campaign: its limit counts from each walker's start, its heat is shown."""

import warnings
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.campaigns import write_campaign
from helpers.structures import copper

from ase_bayesel import (
    BiasedCalculator,
    Campaign,
    Deviation,
    DriverState,
    ForceTrigger,
    run_walker,
)
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended
from ase_bayesel.campaign.exploration import RoundRules
from ase_bayesel.campaign.exploration.pick_files import facts_of
from ase_bayesel.campaign.exploration.state import ExploreState, WalkerState
from ase_bayesel.campaign.explore_progress import Telling
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.dynamics.thermostat_check import ThermostatCheck
from ase_bayesel.dynamics.triggers import LazyCheck
from ase_bayesel.errors import ThermostatWarning

LIMITED = {
    "explore.bias": {"kind": "variance", "elements": {"Al": 1.0}, "energy_limit": 0.05},
    "explore.steps": 60,
    "stop.max_rounds": 1,
}


def opened(config):
    return Campaign(load_config(config), config.with_name("campaign"))


def saved(campaign):
    starts = campaign.store.read_input("starts")
    return campaign.store.exploration(1).load(starts)[0]


@pytest.fixture(scope="module", params=["turns", "lockstep"])
def changes(request):
    return LIMITED | {"explore.mode": request.param}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, changes):
    campaign = opened(write_campaign(tmp_path_factory.mktemp("whole"), changes))
    assert isinstance(list(campaign.run())[-1], Ended)
    return campaign


def test_the_limit_counts_from_the_start_in_every_turn(whole):
    state = saved(whole)
    assert len(state.picks) == 3
    surrogate, _ = load_model(whole.config, whole.store, 0)
    for walker, start in zip(state.walkers, whole.store.read_input("starts"), strict=True):
        assert walker.step > 0
        energy = surrogate.energy(start)
        assert walker.driver.tau.start_energy == pytest.approx(energy, rel=1e-9)


def test_left_and_taken_up(tmp_path, whole, changes):
    config, rng, last = write_campaign(tmp_path, changes), np.random.default_rng(3), None
    while not isinstance(last, Ended):
        running = opened(config).run()
        last = list(islice(running, int(rng.integers(3, 60))))[-1]
        running.close()
    ours, theirs = saved(opened(config)), saved(whole)
    assert [facts_of(p) for p in ours.picks] == [facts_of(p) for p in theirs.picks]
    for one, other in zip(ours.walkers, theirs.walkers, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
        assert one.driver == other.driver


def test_a_warning_shows_in_the_progress():
    walker = WalkerState(copper(0), np.random.default_rng(0).bit_generator.state)
    hot = DriverState(thermostat=replace(ThermostatCheck(), warning="mean temperature 999 K"))
    plan = SimpleNamespace(n_steps=10, checks=[LazyCheck(ForceTrigger(0.2))])
    tell = Telling(1, SimpleNamespace(plans=[plan], rules=RoundRules(turns=True)), 3)
    states = [ExploreState((replace(walker, driver=driver),)) for driver in (None, hot)]
    told = [tell(state) for state in states]
    assert [progress.detail for progress in told] == ["walker 0, 0/3 picks"] * 2
    assert [progress.warnings for progress in told] == [(), ("walker 0: mean temperature 999 K",)]


def test_the_bias_does_not_pay_beyond_its_limit(cu_surrogate):
    """The same bias without a limit lifts the energy three times as high, and explodes."""
    highest, ends = [], []
    for limit in (None, 0.1):
        bias = Deviation(energy_limit=limit)
        calculator = BiasedCalculator(EMT(), cu_surrogate, tau=100.0, bias=bias)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ThermostatWarning)
            steps = list(
                run_walker(
                    copper(1, 0.02, repeat=(2, 1, 1)),
                    calculator,
                    n_steps=150,
                    temperature_K=50.0,
                    rng=np.random.default_rng(0),
                    timestep_fs=3.0,
                )
            )
        energies = [step.prediction.energy / 8 for step in steps]
        highest.append(max(energies) - energies[0])
        ends.append(steps[-1].status)
    assert ends == ["temperature", "running"]
    assert highest[1] < 0.1 < 0.3 < highest[0]
