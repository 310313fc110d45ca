"""``atoms.info["bayesel"]``: what a start has different from the config."""

import json

import numpy as np
import pytest
from ase.constraints import FixAtoms, FixCom
from ase.io import read, write
from helpers.campaigns import write_campaign
from helpers.structures import alloy_cells, copper

from ase_bayesel import (
    NPT,
    BiasedCalculator,
    Bussi,
    Campaign,
    EnergyTrigger,
    Ramp,
    load_config,
    overrides_of,
    run_walker,
)
from ase_bayesel.campaign.build.walkers import walker_options
from ase_bayesel.campaign.inputs import check_inputs
from ase_bayesel.errors import BayeselError, ConfigError

EVERYTHING = {
    "temperature_K": [[0, 300], [100, 900.5]],
    "pressure_GPa": -1,
    "steps": 7,
    "tau_rel": 0.2,
    "trigger": {"kind": "energy_per_atom", "threshold": 0.1},
    "ensemble": {"kind": "npt", "cell": "full", "barostat_fs": 200},
}
EXPECTED = {
    "temperature_K": Ramp(((0, 300.0), (100, 900.5))),
    "pressure_GPa": -1.0,
    "n_steps": 7,
    "tau_rel": 0.2,
    "triggers": [EnergyTrigger(0.1)],
    "ensemble": NPT("full", barostat_fs=200.0),
}


def own(settings):
    atoms = copper()
    atoms.info["bayesel"] = settings
    return atoms


def test_nothing_by_default():
    assert overrides_of(copper()) == {}
    assert overrides_of(own({})) == {}


@pytest.mark.parametrize("written", [EVERYTHING, json.dumps(EVERYTHING)], ids=["dict", "json"])
def test_all_of_them(tmp_path, written):
    assert overrides_of(own(written)) == EXPECTED
    write(tmp_path / "start.extxyz", own(written))
    assert overrides_of(read(tmp_path / "start.extxyz")) == EXPECTED


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"temperature": 300}, "temperature"),
        ({"timestep_fs": 1.0}, "timestep_fs"),
        ({"temperature_K": 0}, "temperature_K"),
        ({"temperature_K": "hot"}, "temperature_K"),
        ({"temperature_K": True}, "temperature_K"),
        ({"temperature_K": [[0, 300], [0, 400]]}, "temperature_K"),
        ({"temperature_K": [[0.5, 300]]}, "temperature_K"),
        ({"tau_rel": [[0, -0.1]]}, "tau_rel"),
        ({"pressure_GPa": []}, "pressure_GPa"),
        ({"steps": 0}, "steps"),
        ({"ensemble": {"kind": "berendsen"}}, "ensemble"),
        ({"ensemble": {"kind": "bussi", "time_constant_fs": 0}}, "ensemble.time_constant_fs"),
        ({"ensemble": {"kind": "nve", "friction_per_fs": 1}}, "ensemble.friction_per_fs"),
        ({"trigger": {"threshold": 0}}, "trigger"),
        ("{not json", "JSON"),
        ("[1, 2]", "mapping"),
        (3.0, "mapping"),
    ],
)
def test_what_is_wrong_is_named(settings, key):
    with pytest.raises(ConfigError) as caught:
        overrides_of(own(settings), "starts.xyz, frame 4")
    assert str(caught.value).startswith("starts.xyz, frame 4, info['bayesel']")
    assert key in str(caught.value)


def test_a_library_user_passes_them_on(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau_rel=0.1)
    options = {"n_steps": 100, "temperature_K": 300.0} | overrides_of(own(EVERYTHING))
    steps = list(run_walker(copper(), calculator, rng=np.random.default_rng(0), **options))
    assert len(steps) == 8
    assert set(steps[-1].driver.variables) >= {"p_cell", "eta"}
    assert steps[-1].reports[0].name == "energy_per_atom"


# in a campaign


def starts_with(tmp_path, *settings, changes=None, constraints=(None, None)):
    """A campaign with two starts that have these settings of their own."""
    path = write_campaign(tmp_path, changes)
    frames = alloy_cells(2, 0.02, 200)
    for atoms, own_settings, constraint in zip(frames, settings, constraints, strict=True):
        atoms.info["bayesel"] = own_settings
        atoms.set_constraint(constraint)
    write(tmp_path / "starts.traj", frames)
    text = path.read_text().replace("starts.extxyz", "starts.traj")
    path.write_text(text)
    return load_config(path)


def test_starts_differ_from_each_other(tmp_path):
    config = starts_with(tmp_path, {"steps": 5}, {"ensemble": {"kind": "bussi"}})
    first, second = check_inputs(config)["starts"]
    assert walker_options(config.explore, first)["n_steps"] == 5
    assert walker_options(config.explore, second)["n_steps"] == 40
    assert walker_options(config.explore, second)["ensemble"] == Bussi()


@pytest.mark.parametrize(
    ("second", "changes", "words"),
    [
        ({"steps": -1}, {}, "steps"),
        ({"ensemble": {"kind": "npt"}}, {}, "pressure_GPa"),
        ({"tau_rel": 0.1}, {"explore.tau": 1.0, "explore.tau_rel": None}, "fixed explore.tau"),
    ],
)
def test_starts_are_checked_before_anything_runs(tmp_path, second, changes, words):
    config = starts_with(tmp_path, {}, second, changes=changes)
    with pytest.raises(BayeselError) as caught:
        Campaign(config, tmp_path / "campaign")
    assert f"{tmp_path / 'starts.traj'}, frame 1" in str(caught.value)
    assert words in str(caught.value)
    assert not (tmp_path / "campaign").exists()


def test_constraints_and_ensemble_of_a_start_are_checked(tmp_path):
    changes = {"explore.ensemble": {"kind": "npt"}, "explore.pressure_GPa": 0}
    config = starts_with(tmp_path, {}, {}, changes=changes, constraints=(None, FixAtoms([0])))
    with pytest.raises(BayeselError, match=r"frame 1: NPT moves all atoms"):
        check_inputs(config)
    mended = {"ensemble": {"kind": "nve"}}
    check_inputs(
        starts_with(tmp_path, {}, mended, changes=changes, constraints=(None, FixAtoms([0])))
    )


def test_a_campaign_with_settings_and_constraints_of_the_starts(tmp_path):
    """FixCom is none of what extended XYZ knows by itself."""
    config = starts_with(
        tmp_path,
        {"steps": 4, "ensemble": {"kind": "nose_hoover_chain"}},
        {"temperature_K": [[0, 600], [40, 1200]]},
        changes={"stop.max_rounds": 1, "explore.picks": 2},
        constraints=(None, FixCom()),
    )
    campaign = Campaign(config, tmp_path / "campaign")
    *_, last = campaign.run()
    assert last.reason == "the one round is done"
    state, _ = campaign.store.exploration(1).load(campaign.store.read_input("starts"))
    assert state.walkers[0].step <= 4
    if state.walkers[0].driver is not None:
        assert set(state.walkers[0].driver.variables) == {"eta", "p_eta"}
    assert isinstance(state.walkers[1].atoms.constraints[0], FixCom)
    for pick in campaign.store.read_batch(1):
        held = bool(pick.info["bayesel_walker"])
        assert [type(c) for c in pick.constraints] == [FixCom] * held
        assert "bayesel" not in pick.info
