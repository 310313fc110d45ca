"""Ensembles, ramps and rollback in campaigns."""

import re
from itertools import islice

import numpy as np
import pytest
from helpers.campaigns import write_campaign

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.events import Ended
from ase_bayesel.cli.report import write_report
from ase_bayesel.errors import ExplorationError

SMALL = {"stop.max_rounds": 1, "explore.picks": 2, "explore.steps": 24}
ENSEMBLES = {
    "nve": {"explore.ensemble": {"kind": "nve"}},
    "bussi": {"explore.ensemble": {"kind": "bussi", "time_constant_fs": 20}},
    "chain": {"explore.ensemble": {"kind": "nose_hoover_chain", "time_constant_fs": 20}},
    "npt": {
        "explore.ensemble": {"kind": "npt", "thermostat_fs": 40, "barostat_fs": 100},
        "explore.pressure_GPa": [[0, 0], [20, 2]],
    },
}
RAMPS = {
    "explore.temperature_K": [[0, 600], [20, 1500]],
    "explore.tau_rel": [[0, 0.1], [20, 0.5]],
    "explore.max_rollbacks": 2,
}


def ended(config, every=None):
    """Run to the end, left and taken up again after so many events."""
    while True:
        running = Campaign(load_config(config), config.with_name("campaign"))
        events = running.run()
        seen = list(islice(events, every))
        events.close()
        if isinstance(seen[-1], Ended):
            return running.store


def walkers(store):
    state, _ = store.exploration(1).load(store.read_input("starts"))
    return state.walkers


@pytest.mark.parametrize("name", ENSEMBLES)
def test_left_again_and_again_is_the_same_campaign(tmp_path, name):
    changes = SMALL | RAMPS | ENSEMBLES[name]
    whole = ended(write_campaign(tmp_path / "whole", changes))
    parts = ended(write_campaign(tmp_path / "parts", changes), 17)
    assert len(whole.read_batch(1)) > 0
    for pick, other in zip(whole.read_batch(1), parts.read_batch(1), strict=True):
        np.testing.assert_array_equal(pick.positions, other.positions)
        assert pick.info == other.info
    for walker, other in zip(walkers(whole), walkers(parts), strict=True):
        assert (walker.step, walker.status, walker.rng_state) == (
            other.step,
            other.status,
            other.rng_state,
        )
        assert walker.driver.to_json() == other.driver.to_json()
        np.testing.assert_array_equal(walker.atoms.get_momenta(), other.atoms.get_momenta())
        np.testing.assert_array_equal(walker.atoms.cell.array, other.atoms.cell.array)


EXPLOSIONS = {
    "large steps": {"explore.timestep_fs": 100.0},
    "hot": {"explore.temperature_K": 9_900.0},
    "strong bias": {"explore.tau_rel": None, "explore.tau": 1e6},
    "compressed": {"explore.pressure_GPa": 1e6},
}


@pytest.mark.parametrize(
    "explosion",
    [
        name if name in ("hot", "compressed") else pytest.param(name, marks=pytest.mark.slow)
        for name in EXPLOSIONS
    ],
)
@pytest.mark.parametrize("name", ENSEMBLES)
def test_explosions_use_up_the_rollbacks_and_end_with_a_name(tmp_path, name, explosion):
    changes = SMALL | {"explore.max_rollbacks": 2} | ENSEMBLES[name] | EXPLOSIONS[explosion]
    config = write_campaign(tmp_path, changes)
    known = {"nan", "close_contact", "force", "temperature", "volume", "calculator_error"}
    told = ""
    try:
        store = ended(config)
    except ExplorationError as error:  # of all walkers, before anything was picked
        told = str(error)
    if told:
        named = re.findall(r"stopped at step \d+ \((\w+)\)", told)
        assert len(named) == load_config(config).explore.walkers
        assert set(named) <= known
        return
    states = walkers(store)
    rollbacks = sum(walker.driver.rollbacks for walker in states if walker.driver)
    assert store.read_report(1).rollbacks == rollbacks
    assert (f"rolled back {rollbacks} times" in write_report(store).read_text()) == (rollbacks > 0)
    assert {walker.status for walker in states} <= known | {"finished", "running"}
    for walker in states:
        if walker.status in known and walker.step > 0:
            assert walker.driver.rollbacks == 2
