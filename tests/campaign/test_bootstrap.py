"""Campaigns that make their first training structures: labelled as round 0, and no label twice."""

import time
from collections import Counter

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from helpers.campaigns import (
    assert_same_campaign,
    calls,
    campaign,
    campaign_settings,
    ended,
    final_model,
    reports,
)
from helpers.command_line import assert_refused, call, finish, kill_when, start

from ase_bayesel.campaign.config import PoolConfig
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.campaign.events import Progress, RoundReport
from ase_bayesel.campaign.history import History
from ase_bayesel.errors import ConfigError, LabellingError
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.identity import structure_id

RECIPE = {"strained": 3, "rattled": 4, "amplitudes_A": [0.05, 0.1], "test": 3}
ESPRESSO = {
    "kind": "espresso",
    "kspacing": 0.3,
    "pseudo_dir": ".",
    "pseudopotentials": {"Cu": "Cu.upf"},
    "parameters": {"system": {"ecutwfc": 40}},
}


def bootstrapped(folder, recipe=None, changes=None):
    """A campaign without training data, on copper; returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "starts.extxyz", bulk("Cu", cubic=True))
    settings = campaign_settings(
        {
            "descriptor.elements": ["Cu"],
            "data": {"train": {"bootstrap": {**RECIPE, **(recipe or {})}}},
            "explore.trigger.threshold": 1e-3,
            "stop.max_rounds": 1,
            **(changes or {}),
        }
    )
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def counting(folder, delay_s=0.0):
    parameters = {"log": str(folder / "calls.log"), "delay_s": delay_s}
    factory = "helpers.calculators:CountingEMT"
    return {"labelling": {"kind": "import", "factory": factory, "parameters": parameters}}


def test_a_campaign_without_training_data_runs_to_its_end(tmp_path):
    path = bootstrapped(tmp_path, changes=counting(tmp_path))
    store, _ = ended(path)
    train, test = store.read_input("train"), store.read_input("test")
    assert (len(train), len(test)) == (1 + 3 + 4, 3)
    for atoms in (*train, *test):
        bare = atoms.copy()
        bare.calc = EMT()
        assert atoms.info["REF_energy"] == pytest.approx(bare.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], bare.get_forces(), atol=1e-7)
    assert final_model(store).e0s == {"Cu": train[0].info["REF_energy"]}
    first, last = reports(store)
    assert (first.n_train, first.n_labels, first.n_test, first.failed) == (8, 11, 3, 0)
    assert first.energy_rmse is not None
    assert last.n_labels == 11 + last.picks
    assert len(calls(path)) == last.n_labels  # and none for a canary
    labels, made = store.used_labels(), store.read_labelled(0)
    spent = sum(labels.wall_s(label.identity, label.settings) for label in made)
    assert len(made) == 11
    assert History(store).hours()[0] == pytest.approx(spent / 3600)


def test_round_0_tells_how_it_goes(tmp_path):
    events = []
    for event in campaign(bootstrapped(tmp_path)).run():
        if isinstance(event, RoundReport):
            break
        events.append(event)
    told = [e for e in events if isinstance(e, Progress) and e.stage == "label"]
    assert [(e.round_number, e.done, e.total) for e in told] == [(0, k, 11) for k in range(12)]


@pytest.mark.parametrize("at_rest", [False, True])
def test_an_engine_that_repeats_itself_ends_round_0(tmp_path, at_rest):
    parameters = {"note": str(tmp_path / "first.npz"), "at_rest": at_rest}
    stuck = {"kind": "import", "factory": "helpers.faulty:StuckEMT", "parameters": parameters}
    path = bootstrapped(tmp_path, {"isolated": False}, {"labelling": stuck})
    settings = yaml.safe_load(path.read_text())
    settings["data"]["e0s"] = "average"
    path.write_text(yaml.safe_dump(settings))
    for _ in range(2):
        with pytest.raises(LabellingError, match=r"round 0: all 3 first structures .*same energy"):
            ended(path)


def test_the_same_seed_gives_the_same_campaign(tmp_path):
    (one, _), (other, _) = (ended(bootstrapped(tmp_path / name)) for name in "ab")
    assert_same_campaign(one, other)
    for name in ("train", "test"):
        assert one.input_path(name).read_bytes() == other.input_path(name).read_bytes()


def test_a_shared_store_pays_for_nothing_twice(tmp_path):
    shared = {"labels": {"store": str(tmp_path / "shared")}, **counting(tmp_path / "a")}
    ended(bootstrapped(tmp_path / "a", changes=shared))
    before = len(calls(tmp_path / "a" / "config.yaml"))
    assert before
    for _ in campaign(bootstrapped(tmp_path / "b", changes=shared)).run():
        pass
    assert len(calls(tmp_path / "a" / "config.yaml")) == before


@pytest.mark.slow
def test_a_killed_bootstrap_goes_on_without_computing_again_what_it_has(tmp_path):
    undisturbed = bootstrapped(tmp_path / "undisturbed")
    finish(start(undisturbed))
    path = bootstrapped(tmp_path / "killed", changes=counting(tmp_path / "killed", 0.2))
    directory = path.with_name("config_campaign")
    assert kill_when(start(path), directory, "labels/e*/*.extxyz", 3, 0.0)
    labels = {p: p.stat().st_mtime_ns for p in directory.glob("labels/e*/*.extxyz")}
    assert 3 <= len(labels) < 11
    assert not (directory / "inputs" / "train.extxyz").exists()
    have = {read_frames(p)[0].positions.tobytes().hex() for p in labels}
    time.sleep(0.01)
    finish(start(path))
    assert {p: p.stat().st_mtime_ns for p in labels} == labels
    times = Counter(calls(path))
    assert {times[positions] for positions in have} == {1}
    assert sum(times.values()) - len(times) <= 1  # the one under way when it was killed
    inputs = [config.with_name("config_campaign") / "inputs" for config in (path, undisturbed)]
    for name in ("train.extxyz", "test.extxyz"):
        ours, theirs = (read_frames(folder / name) for folder in inputs)
        assert [structure_id(a) for a in ours] == [structure_id(a) for a in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.info["REF_energy"] == other.info["REF_energy"]


def fragile(*fails):
    factory = "helpers.calculators:EMTButFor"
    return {"labelling": {"kind": "import", "factory": factory, "parameters": {"fails": fails}}}


def test_what_fails_is_left_out_and_named(tmp_path):
    store, _ = ended(bootstrapped(tmp_path, {"dimers": 2}, fragile(2)))
    first = reports(store)[0]
    assert (first.n_train, first.failed) == (8, 2)
    result = call("status", tmp_path / "config.yaml", "-d", store.directory)
    assert result.output.count("set aside: RuntimeError: 2 atoms are too many") == 2


def test_an_isolated_atom_that_fails_ends_it_with_a_way_out(tmp_path):
    path = bootstrapped(tmp_path, changes=fragile(1))
    for retry_failed in (False, True):
        running = campaign(path)
        with pytest.raises(LabellingError, match=r"isolated atoms .*Cu: Run.*e0s: average"):
            list(running.run(retry_failed))
        assert running.store.completed_rounds() == 0


def test_averages_need_no_isolated_atoms(tmp_path):
    path = bootstrapped(tmp_path, {"isolated": False}, fragile(1))
    settings = yaml.safe_load(path.read_text())
    settings["data"]["e0s"] = "average"
    path.write_text(yaml.safe_dump(settings))
    store, _ = ended(path)
    assert reports(store)[0].n_train == 7


def test_all_that_fail_end_it(tmp_path):
    path = bootstrapped(tmp_path, changes=fragile(4))
    with pytest.raises(LabellingError, match=r"all 7 first structures have failed.*--retry-failed"):
        list(campaign(path).run())


def test_validate_counts_what_there_will_be(tmp_path):
    result = call("validate", bootstrapped(tmp_path))
    assert result.exit_code == 0, result.output
    assert "structures: starts 1, bootstrap 8, bootstrap_test 3" in result.output


@pytest.mark.slow
def test_run_takes_it_up_again_and_refuses_another_recipe(tmp_path):
    assert call("run", bootstrapped(tmp_path)).exit_code == 0
    assert call("run", bootstrapped(tmp_path)).exit_code == 0
    named = ("data.train.bootstrap.rattled", "were taken up at the start")
    assert_refused(call("run", bootstrapped(tmp_path, {"rattled": 9})), *named)


@pytest.mark.parametrize(
    ("recipe", "changes", "told"),
    [
        ({}, {"labelling": "none"}, "bootstrap needs an engine"),
        ({"isolated": False}, {}, "e0s: isolated needs the isolated atoms"),
        ({}, {"labelling": ESPRESSO}, "espresso computes nothing without periodicity"),
        ({"strained": 0, "rattled": 0}, {}, "one of them has to be positive"),
        (
            {"rattles": 3},
            {},
            "data.train.bootstrap.rattles: no such key; did you mean rattled.*max_strain",
        ),
        ({"rattled": -1}, {}, "data.train.bootstrap.rattled: "),
        ({"strained": True}, {}, "data.train.bootstrap.strained: "),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(tmp_path, recipe, changes, told):
    with pytest.raises(ConfigError, match=told):
        load_config(bootstrapped(tmp_path, recipe, changes))


def test_a_test_file_and_a_number_of_test_structures_are_one_too_many(tmp_path):
    data = {"train": {"bootstrap": {"test": 1}}, "test": "test.extxyz"}
    with pytest.raises(ConfigError, match="not both"):
        load_config(bootstrapped(tmp_path, changes={"data": data}))


def test_amplitudes_beyond_reason_are_found_before_anything_runs(tmp_path):
    path = bootstrapped(tmp_path, {"amplitudes_A": [1.0]})
    settings = yaml.safe_load(path.read_text())
    settings["explore"]["guards"] = {"close_contact": 0.95}
    path.write_text(yaml.safe_dump(settings))
    assert_refused(call("validate", path), "data.train: bootstrap", "lower amplitudes_A")


def test_pools_label_nothing():
    raw = {
        "data": {"train": {"bootstrap": {}}},
        "descriptor": {"elements": ["Cu"]},
        "recipes": [{"kind": "bulk", "element": "Cu"}],
    }
    with pytest.raises(ConfigError, match="a pool labels nothing"):
        validate_config(raw, "pool.yaml", schema=PoolConfig)
