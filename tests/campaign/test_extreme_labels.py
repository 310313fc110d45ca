"""Labels with extreme forces: kept, of less weight or set aside, and known to the covariance."""

import json

import numpy as np
import pytest
import yaml
from ase.io import write
from helpers.campaigns import campaign, copy_campaign, ended, label_of, picks, write_campaign
from helpers.command_line import bayesel
from helpers.structures import alloy_cells, reference

from ase_bayesel import ForceTrigger, Surrogate, fit_surrogate
from ase_bayesel.campaign.config.data import LabelsConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import MOST_NAMED, ExtremeLabel, RoundReport
from ase_bayesel.campaign.pick_labels import PickLabel, extreme_labels
from ase_bayesel.campaign.set_aside import left_out
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.report import write_report
from ase_bayesel.errors import ConfigError

LIMIT, THRESHOLD, LABEL_NOISE = 0.7, 0.2, 0.03
"""eV/A: picks have forces above the limit, training structures below."""
LESS_WEIGHT = {"max_force": LIMIT, "set_aside_force": None}
SET_ASIDE = {"max_force": LIMIT, "set_aside_force": 2 * LIMIT}
FAILED = {
    "labelling.factory": "helpers.calculators:no_such_engine_works",
    "labelling.canary": False,
}


def hot_campaign(folder, changes):
    """Hot walkers from a training set near equilibrium, whose forces hold some noise."""
    settings = {
        "descriptor.totaldegree": 4,
        "explore.trigger": {"kind": "force", "threshold": THRESHOLD},
        "explore.temperature_K": 2500.0,
        "explore.steps": 80,
        "stop.max_rounds": 1,
    }
    config = write_campaign(folder, settings | changes)
    frames, rng = [reference(atoms) for atoms in alloy_cells(10, 0.03, 0)], np.random.default_rng(5)
    for atoms in frames:
        atoms.arrays["REF_forces"] += rng.normal(0.0, LABEL_NOISE, atoms.positions.shape)
    write(folder / "train.extxyz", frames)
    return config


def made(factory, changes):
    config = hot_campaign(factory.mktemp("extreme"), changes)
    store, last = ended(config)
    assert last.reason == "the one round is done"
    return config, store


@pytest.fixture(scope="module")
def less_weight(tmp_path_factory):
    return made(tmp_path_factory, {"labels": LESS_WEIGHT})


@pytest.fixture(scope="module")
def aside(tmp_path_factory):
    return made(tmp_path_factory, {"labels": SET_ASIDE})


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    return made(tmp_path_factory, FAILED)


def models(store):
    return [Surrogate.load(store.model_path(k)) for k in (0, 1)]


def trigger_value(surrogate, atoms):
    return surrogate.uncertainty(atoms).forces.max()


def refitted(store, descriptor, extra=()):
    """A fit to the training set and further structures, by hand."""
    keys = {"energy_key": "REF_energy", "forces_key": "REF_forces"}
    frames = [*store.read_input("train"), *extra]
    return fit_surrogate(frames, descriptor, e0s="average", **keys)


def largest(atoms):
    return np.linalg.norm(atoms.arrays["REF_forces"], axis=1).max()


# the next round does not go back


@pytest.mark.parametrize("fate", ["less_weight", "aside", "failed"])
def test_the_next_round_does_not_go_back(fate, request):
    """What is new is judged as if the label had its full weight; else the trigger fires again."""
    _, store = request.getfixturevalue(fate)
    before, after = models(store)
    trigger = load_config(store.directory.parent / "config.yaml").explore.trigger
    assert trigger == ForceTrigger(THRESHOLD)
    extra = []
    if fate == "less_weight":
        for pick in picks(store):
            label = label_of(store.directory, pick)
            label.info["config_weight"] = (LIMIT / largest(label)) ** 4
            extra.append(label)
    without = refitted(store, before.descriptor, extra)
    fires = []
    assert len(picks(store)) == 3
    for pick in picks(store):
        assert trigger_value(before, pick) > THRESHOLD
        assert trigger_value(after, pick) < 0.25 * THRESHOLD
        fires.append(trigger_value(without, pick) > THRESHOLD)
    # a label beyond the limit by little still has some weight
    assert any(fires) if extra else all(fires)


def test_the_fit_gives_them_less_weight(less_weight):
    """The mean is that of a fit with the weight in the file."""
    _, store = less_weight
    _, after = models(store)
    light, full = ([label_of(store.directory, pick) for pick in picks(store)] for _ in range(2))
    for label in light:
        label.info["config_weight"] = (LIMIT / largest(label)) ** 4
    expected, plain = (refitted(store, after.descriptor, extra) for extra in (light, full))
    for atoms in store.read_input("test"):
        ours = after.calculator().get_forces(atoms)
        np.testing.assert_allclose(ours, expected.calculator().get_forces(atoms), atol=1e-5)
        assert np.abs(ours - plain.calculator().get_forces(atoms)).max() > 1e-3


def test_the_fit_leaves_out_what_is_set_aside(aside):
    _, store = aside
    before, after = models(store)
    for atoms in store.read_input("test"):
        np.testing.assert_allclose(
            after.calculator().get_forces(atoms), before.calculator().get_forces(atoms), atol=1e-6
        )
    assert after.noise == before.noise


# kept and reported


def test_labels_are_kept_and_counted(less_weight, aside):
    for (_, store), n_train in ((less_weight, 13), (aside, 10)):
        report = store.read_report(1)
        assert (report.picks, report.failed) == (3, 0)
        assert (report.n_labels, report.n_train) == (3, n_train)
        assert all(label_of(store.directory, pick) is not None for pick in picks(store))


def test_every_one_is_named_in_report_page_and_status(less_weight, aside):
    for (config, store), fate in ((less_weight, "counts less in the fit"), (aside, "set aside")):
        assert store.read_report(0).extreme == ()
        extreme = store.read_report(1).extreme
        status = bayesel("status", config, "--dir", store.directory).stdout
        page = write_report(store).read_text()
        for pick, told in zip(picks(store), extreme, strict=True):
            assert told.name == pick.info["bayesel_id"]
            assert told.max_force == pytest.approx(largest(label_of(store.directory, pick)))
            assert told.set_aside == (fate == "set aside")
            assert str(told).startswith(f"{told.name} {fate}")
            assert f"round 1: {told}" in status
            assert str(told) in page


def test_given_training_data_are_named_and_never_set_aside(tmp_path):
    config = hot_campaign(tmp_path, {"labels": {"max_force": 1e-6, "set_aside_force": 1e-5}})
    store, _ = ended(config)
    zero, one = (store.read_report(k) for k in (0, 1))
    assert [label.name for label in zero.extreme] == [f"training frame {k}" for k in range(10)]
    assert not any(label.set_aside for label in zero.extreme)
    assert (zero.n_train, one.n_train) == (10, 10)


def test_no_limits(tmp_path):
    labels = {"max_force": None, "set_aside_force": None}
    store, _ = ended(hot_campaign(tmp_path, {"labels": labels}))
    assert store.read_report(1).extreme == ()
    assert store.read_report(1).n_train == 13


def test_a_limit_may_change_between_rounds(aside, tmp_path):
    """Labels that were set aside are still there, and come back into the fit."""
    copied = copy_campaign(aside[0], tmp_path)
    settings = yaml.safe_load(copied.read_text())
    settings["labels"] = LESS_WEIGHT
    settings["stop"]["max_rounds"] = 2
    copied.write_text(yaml.safe_dump(settings))
    running = campaign(copied)
    assert "labels.set_aside_force" in [change.field for change in running.changes]
    *_, last = running.run()
    assert last.reason.startswith(("all 2 rounds", "nothing triggered in round 2"))
    report = running.store.read_report(2)
    assert report.n_train == 10 + 3 + report.picks


def test_labels_noted_without_a_force_are_fitted(tmp_path):
    """As campaigns noted them that were begun before."""
    store = Store(tmp_path)
    path = store.round_directory(1) / "labelled.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"picks": [["a", "s"], ["b", None]]}))
    first, second = store.read_labelled(1)
    assert first.fitted(1.0)
    assert not second.fitted(None)


@pytest.mark.parametrize(("decision", "out"), [(None, {"b"}), ("accepted", set())])
def test_one_that_is_set_aside_can_be_accepted(tmp_path, decision, out):
    store = Store(tmp_path)
    store.round_directory(1).mkdir()
    store.save_labelled(1, [PickLabel("a", "s", 1.0), PickLabel("b", "s", 9.0)])
    if decision is not None:
        (tmp_path / "decisions.json").write_text(json.dumps({"b": decision}))
    assert left_out(store, 1, 3.0) == out


def test_what_is_extreme():
    named = [("a", 1.0), ("b", 2.0), ("c", 3.5), ("d", None)]
    limits = LabelsConfig(max_force=1.0, set_aside_force=3.0)
    expected = [ExtremeLabel("b", 2.0, False), ExtremeLabel("c", 3.5, True)]
    assert extreme_labels(named, limits) == tuple(expected)
    assert [label.set_aside for label in extreme_labels(named, limits, given=True)] == [False] * 2
    only = LabelsConfig(max_force=None, set_aside_force=3.0)
    assert extreme_labels(named, only) == (expected[1],)
    assert extreme_labels(named, only, given=True) == ()
    assert PickLabel("c", "s", 3.0).fitted(3.0)
    assert not PickLabel("c", "s", 3.1).fitted(3.0)


def test_many_are_counted():
    many = tuple(ExtremeLabel(f"training frame {k}", 50.0, False) for k in range(MOST_NAMED + 5))
    told = RoundReport(0, 1, 0, extreme=many).labels_told()
    assert len(told) == MOST_NAMED + 1
    assert told[-1] == "and 5 more labels with extreme forces"
    assert len(RoundReport(0, 1, 0, extreme=many[:MOST_NAMED]).labels_told()) == MOST_NAMED


def test_the_second_limit_is_the_larger_one(tmp_path):
    config = write_campaign(tmp_path, {"labels": {"max_force": 50.0, "set_aside_force": 50.0}})
    with pytest.raises(
        ConfigError, match=r"labels: .*set_aside_force must be larger than max_force"
    ):
        load_config(config)
