"""Walkers under restraints: what they are recorded with, resumes, and the ways to explore."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from ase.io import read, write
from helpers.campaigns import campaign, campaign_settings, ended, write_campaign
from helpers.lockstep import assert_same_states, explored, setup_for, started
from helpers.structures import copper

from ase_bayesel import (
    NPT,
    BiasedCalculator,
    Bussi,
    CellLength,
    CellMove,
    Coordination,
    Dihedral,
    Distance,
    ForceTrigger,
    Harmonic,
    Langevin,
    NoseHooverChain,
    Ramp,
    TrustBound,
    UpperWall,
    run_walker,
)
from ase_bayesel.campaign.config import ExploreConfig
from ase_bayesel.dynamics.driver_state import DriverState
from ase_bayesel.dynamics.recording import Recorder, log_row, read_log, recorded
from ase_bayesel.dynamics.recording.steps import joined
from ase_bayesel.errors import BayeselError

START = copper(1, 0.05, repeat=(1, 1, 2))
PULL = Harmonic(Distance((0, 1)), Ramp(((0, 2.55), (30, 3.6))), 20.0)
CROWD = UpperWall(Coordination((0,), "Cu", 2.9), 5.0, 1.0, name="crowd")
LENGTH = Harmonic(CellLength(2), 7.5, 5.0)


def walk(surrogate, atoms=START, seed=0, restraints=(PULL, CROWD), **options):
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau_rel=0.2)
    defaults = {"n_steps": 30, "temperature_K": 300.0, "rng": np.random.default_rng(seed)}
    return run_walker(atoms, calculator, restraints=restraints, **(defaults | options))


def test_a_moving_restraint_takes_a_distance_along(cu_surrogate):
    steps = list(walk(cu_surrogate, n_steps=60))
    for step in steps:
        assert step.restraints.values["distance_0_1"] == pytest.approx(
            step.atoms.get_distance(0, 1, mic=True)
        )
    alone = list(walk(cu_surrogate, n_steps=60, restraints=()))
    assert alone[-1].restraints is None
    assert steps[-1].restraints.values["distance_0_1"] > 3.4
    assert alone[-1].atoms.get_distance(0, 1, mic=True) < 3.0


def test_predictions_are_those_of_the_potential_and_its_bias(cu_surrogate):
    *_, step = walk(cu_surrogate)
    plain = step.atoms.copy()
    plain.calc = cu_surrogate.calculator()
    assert step.restraints.energy > 0.01
    assert step.prediction.energy == pytest.approx(plain.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(step.prediction.forces, plain.get_forces(), atol=1e-10)


@pytest.mark.parametrize(
    ("ensemble", "restraints", "moves"),
    [
        (Langevin(), (PULL, CROWD), ()),
        (Bussi(), (PULL,), ()),
        (NoseHooverChain(), (PULL,), ()),
        (NPT("full"), (PULL, LENGTH), ()),
        (Langevin(), (PULL, LENGTH), (CellMove(interval=3),)),
    ],
    ids=["langevin", "bussi", "chain", "npt", "cell move"],
)
def test_two_runs_equal_one(cu_surrogate, ensemble, restraints, moves):
    options = {"ensemble": ensemble, "restraints": restraints, "moves": moves, "n_steps": 14}
    options["pressure_GPa"] = 0.0
    whole = list(walk(cu_surrogate, **options))
    rng = np.random.default_rng(0)
    first = list(walk(cu_surrogate, rng=rng, **(options | {"n_steps": 7})))[-1]
    stored = DriverState.from_json(json.loads(json.dumps(first.driver.to_json())))
    again = walk(cu_surrogate, first.atoms, rng=rng, first_step=7, state=stored, **options)
    for ours, theirs in zip(again, whole[7:], strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, theirs.atoms.positions)
        np.testing.assert_array_equal(ours.atoms.get_momenta(), theirs.atoms.get_momenta())
        np.testing.assert_array_equal(ours.atoms.cell.array, theirs.atoms.cell.array)
        assert ours.restraints == theirs.restraints


def test_a_cell_vector_is_held_by_the_stress(cu_surrogate):
    options = {"ensemble": NPT(barostat_fs=50.0), "pressure_GPa": 0.0, "n_steps": 60}
    lengths = [
        list(walk(cu_surrogate, restraints=held, **options))[-1].atoms.cell.lengths()[2]
        for held in ((), (Harmonic(CellLength(2), 8.0, 20.0),))
    ]
    assert lengths[1] > lengths[0] + 0.2


def test_the_way_begins_again_where_a_walker_goes_back_to_its_start(cu_surrogate):
    trigger = ForceTrigger(1e-3)
    trust = TrustBound(1.0).against(cu_surrogate, START, [trigger])
    options = {"triggers": [trigger], "trust": trust, "check_interval": 5, "n_steps": 12}
    steps = list(walk(cu_surrogate, restraints=(PULL,), **options))
    assert steps[10].driver.returns == (5, 10)
    assert steps[10].driver.left_start == 10
    for step in steps[10:]:
        apart = step.restraints.values["distance_0_1"] - PULL.at.at(step.step - 10)
        assert step.restraints.energy == pytest.approx(10.0 * apart**2, abs=1e-12)


def test_the_record_has_every_variable(tmp_path, cu_surrogate):
    with Recorder(tmp_path / "t.xyz", 5, tmp_path / "log") as recorder:
        steps = list(recorded(walk(cu_surrogate, n_steps=10), recorder))
    rows = read_log(tmp_path / "log")
    frames = read(tmp_path / "t.xyz", ":")
    for name in ("distance_0_1", "crowd"):
        values = [step.restraints.values[name] for step in steps]
        np.testing.assert_array_equal(rows[f"cv_{name}"], values)
        told = [frame.info[f"bayesel_cv_{name}"] for frame in frames]
        np.testing.assert_allclose(told, values[::5], rtol=1e-7)
    np.testing.assert_array_equal(
        rows["restraint_energy"], [step.restraints.energy for step in steps]
    )
    other = log_row(next(walk(cu_surrogate, restraints=())), 1)
    both = joined([rows, other])
    assert np.isnan(both["cv_crowd"][-1])
    np.testing.assert_array_equal(both["energy"][:-1], rows["energy"])
    assert "cv_crowd" not in joined([other]).dtype.names


def test_blocks_make_the_same_walkers_as_saved_and_restored_ones(cu_surrogate):
    """In turns and in lock-step a chain of blocks: the executors share `advance_walker`."""
    driven = {"restraints": (PULL, CROWD)}
    setups = [
        setup_for(cu_surrogate, ForceTrigger(1e9), 24, interval, driven=driven, start=START)
        for interval in (4, 8)
    ]
    (*_, short), _ = explored(setups[0], started([START] * 2))
    (*_, long), _ = explored(setups[1], started([START] * 2))
    for ours, theirs in zip(short.walkers, long.walkers, strict=True):
        np.testing.assert_array_equal(ours.atoms.positions, theirs.atoms.positions)
    (*_, again), _ = explored(setups[0], started([START] * 2))
    assert_same_states(short, again)


PULLED = {
    "kind": "harmonic",
    "of": {"kind": "distance", "atoms": [0, 1]},
    "at": [[0, 2.6], [20, 3.4]],
    "k": 10.0,
}
CHANGES = {
    "explore.restraints": [PULLED],
    "explore.log": True,
    "explore.trajectory_interval": 5,
    "stop.max_rounds": 1,
}


@pytest.mark.parametrize("mode", ["lockstep", "turns"])
def test_a_campaign_records_them_and_labels_without_them(tmp_path, mode):
    store, _ = ended(write_campaign(tmp_path, CHANGES | {"explore.mode": mode}))
    rows = store.read_log(1)
    (pick, *_) = store.read_batch(1)
    row = rows[rows["picked"]][0]
    assert np.isfinite(rows["cv_distance_0_1"]).all()
    assert rows["restraint_energy"].max() > 0
    assert row["cv_distance_0_1"] == pytest.approx(pick.get_distance(0, 1, mic=True), rel=1e-6)
    (label,) = [
        frame
        for path in store.directory.glob("labels/*/*.extxyz")
        for frame in read(path, ":")
        if frame.positions.shape == pick.positions.shape
        and np.allclose(frame.positions, pick.positions)
    ]
    pick.calc = EMT()
    assert pick.get_potential_energy() == pytest.approx(label.info["REF_energy"], abs=1e-6)


def test_starts_have_restraints_of_their_own(tmp_path):
    config = write_campaign(tmp_path, CHANGES)
    starts = read(tmp_path / "starts.extxyz", ":")
    starts[1].info["bayesel"] = json.dumps({"restraints": [PULLED | {"k": 1.0, "name": "other"}]})
    write(tmp_path / "starts.extxyz", starts)
    store, _ = ended(config)
    rows = store.read_log(1)
    for walker, name in enumerate(("cv_distance_0_1", "cv_other")):
        assert np.isfinite(rows[name][rows["walker"] == walker]).all()
        assert np.isnan(rows[name][rows["walker"] != walker]).all()


@pytest.mark.parametrize(
    ("restraint", "words"),
    [
        (PULLED | {"kind": "wall"}, "none of harmonic, wall_upper, wall_lower"),
        (PULLED | {"of": {"kind": "distance", "atoms": [0, 99]}}, "no atom 99"),
        (PULLED | {"of": {"kind": "cell_length", "vector": 0}}, "nothing varies it"),
        (PULLED | {"stiffness": 1.0}, "the keys are kind, of, at, k, name, flat"),
        (PULLED | {"at": "far"}, "expected a number, or a ramp"),
    ],
)
def test_what_a_config_has_wrong_is_named(tmp_path, restraint, words):
    config = write_campaign(tmp_path, {"explore.restraints": [restraint]})
    with pytest.raises(BayeselError, match=words):
        list(campaign(config).run())


def test_the_page_says_what_there_is():
    page = (Path(__file__).parents[2] / "docs/how-to/restraints.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    explore = campaign_settings()["explore"] | yaml.safe_load(shown)["explore"]
    turn, wall = ExploreConfig.model_validate(explore).restraints
    assert turn == Harmonic(Dihedral((0, 1, 2, 3)), Ramp(((0, 180.0), (500, 60.0))), 3.0)
    assert wall == UpperWall(Distance((3, 14)), 3.0, 2.0)
    *_, script = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found = {}
    exec(compile(script, "restraints.md", "exec"), found)
    assert found["atoms"].calc.step == 50
