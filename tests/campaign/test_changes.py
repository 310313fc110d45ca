"""What of a config may change, and what is said where it may not."""

import json
import shutil
from itertools import takewhile

import numpy as np
import pytest
import yaml
from ase.io import read, write
from helpers.campaigns import assert_same_campaign, copy_campaign, write_campaign, write_config
from helpers.files import hashes
from helpers.structures import alloy_cells

from ase_bayesel import Campaign
from ase_bayesel.campaign import beginning
from ase_bayesel.campaign.campaign import Progress
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended, RoundReport
from ase_bayesel.campaign.exploration.saved import SavedExploration
from ase_bayesel.campaign.store import Store
from ase_bayesel.errors import ConfigError


def campaign(config):
    return Campaign(load_config(config), config.with_name("campaign"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Config of a campaign of one round."""
    config = write_campaign(tmp_path_factory.mktemp("done"), {"stop.max_rounds": 1})
    list(campaign(config).run())
    return config


@pytest.fixture
def copied(done, tmp_path):
    return copy_campaign(done, tmp_path)


def change(config, changes):
    write_config(config.parent, {"stop.max_rounds": 1, **changes})
    return campaign(config)


def refusal(config, changes):
    """The error of a change, which must leave everything as it is."""
    directory = config.with_name("campaign")
    before = hashes(directory)
    with pytest.raises(ConfigError, match="another config") as caught:
        change(config, changes)
    assert hashes(directory) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 7}, "seed: the picks so far are those of the old seed"),
        ({"descriptor.cutoff": 4.0}, "descriptor.cutoff: the models so far are built on the old"),
        ({"weights": None}, "weights.energy: the models so far were fitted with the old ones"),
        ({"data.e0s": {"Cu": 0.0, "Al": 0.0}}, "data.e0s.Al: the training data were taken up"),
        (
            {"labelling.parameters": {"asap_cutoff": True}},
            "labelling.parameters.asap_cutoff: labels of two references would be mixed",
        ),
        ({"labelling": "none"}, "labelling: labels of two references"),
        ({"labels": {"store": "shared"}}, "labels.store: the labels so far lie in the old place"),
        ({"data.test": None}, "data.test: it was read at the start"),
        ({"data.train": "nowhere.extxyz"}, "nowhere.extxyz cannot be read"),
        ({"data.train": "test.extxyz"}, "test.extxyz holds other structures"),
    ],
)
def test_what_may_never_change_is_refused_with_the_reason(copied, changes, reason):
    assert reason in refusal(copied, changes)


def test_all_refused_fields_are_named_and_accepted_ones_are_not(copied):
    message = refusal(copied, {"seed": 7, "weights": None, "stop.max_rounds": 3})
    assert "seed" in message
    assert "weights" in message
    assert "max_rounds" not in message


def test_how_things_are_done_may_change_and_is_logged(copied):
    changes = {
        "threads": 2,
        "labels": {"start": "batch", "keep_output": True},
        "labelling.fallbacks": [{"asap_cutoff": True}],
    }
    running = change(copied, changes)
    told = [str(one) for one in running.changes]
    assert "threads: 1 -> 2" in told
    assert "labels.start: at_once -> batch" in told
    lines = (running.store.directory / "changes.jsonl").read_text().splitlines()
    noted = [json.loads(line) for line in lines]
    (threads,) = (entry for entry in noted if entry["field"] == "threads")
    assert (threads["before"], threads["after"]) == (1, 2)
    assert {entry["round"] for entry in noted} == {2}
    assert list(running.run()) == [Ended("the one round is done")]
    assert campaign(copied).changes == []


def test_a_campaign_of_a_release_with_fewer_fields_goes_on(copied):
    """Its config has no line of them; one that is not as by default is a change."""
    path = copied.with_name("campaign") / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    for section, names in {"explore": ("restraints", "offers"), "data": ("prior",)}.items():
        for name in names:
            del stored[section][name]
    del stored["explore"]["trust_bound"]
    path.write_text(yaml.safe_dump(stored))
    assert change(copied, {}).changes == []
    told = [str(one) for one in change(copied, {"explore.offers": "always"}).changes]
    assert told == ["explore.offers: None -> always"]


def test_every_change_is_kept_in_the_log(copied):
    for threads in (2, 3):
        change(copied, {"threads": threads})
    lines = (copied.with_name("campaign") / "changes.jsonl").read_text().splitlines()
    assert [json.loads(line)["after"] for line in lines] == [2, 3]


def test_labels_found_by_the_old_fallbacks_stay_in_the_training_set(copied):
    before = campaign(copied).store.read_report(1)
    more = change(
        copied, {"stop.max_rounds": 2, "labelling.fallbacks": [{"asap_cutoff": True}], "threads": 2}
    )
    *_, report, _ = [e for e in more.run() if isinstance(e, RoundReport | Ended)]
    assert report.n_labels == before.n_labels + report.picks


def test_exploration_may_change_between_rounds_only(tmp_path):
    config = write_campaign(tmp_path)
    running = campaign(config).run()
    first = takewhile(lambda e: not (isinstance(e, RoundReport) and e.round_number == 1), running)
    list(first)
    running.close()
    hotter = {"explore.temperature_K": 1500.0, "explore.picks": 2}
    write_config(tmp_path, hotter)
    second = campaign(config)
    assert [one.field for one in second.changes] == ["explore.picks", "explore.temperature_K"]
    running = second.run()
    picked = (e for e in running if isinstance(e, Progress) and "1/2 picks" in e.detail)
    next(picked)
    running.close()
    write_config(tmp_path, hotter | {"explore.temperature_K": 900.0})
    with pytest.raises(ConfigError, match=r"explore\.temperature_K: the round is being explored"):
        campaign(config)
    write_config(tmp_path, hotter)
    *_, last = campaign(config).run()
    assert last == Ended("all 2 rounds are done")


def test_input_files_may_move(done, tmp_path):
    """A checkout elsewhere: the files are the same ones."""
    shutil.copytree(done.parent, tmp_path / "moved")
    config = tmp_path / "moved" / "config.yaml"
    (tmp_path / "moved" / "campaign" / "config.yaml").write_text(
        (done.with_name("campaign") / "config.yaml").read_text()
    )
    moved = campaign(config)
    assert {one.field for one in moved.changes} == {"data.train", "data.test", "explore.starts"}
    assert list(moved.run()) == [Ended("the one round is done")]


def test_input_files_may_not_change_while_they_move(done, tmp_path):
    shutil.copytree(done.parent, tmp_path / "moved")
    train = tmp_path / "moved" / "train.extxyz"
    write(train, [*read(train, ":"), *alloy_cells(1, 0.1, 5)])
    with pytest.raises(ConfigError, match=r"data\.train: .*holds other structures"):
        campaign(tmp_path / "moved" / "config.yaml")


def test_files_of_the_engine_may_not_change(done, tmp_path):
    """The config is the same, but the labels would be of another reference."""
    models = [done.with_name("campaign") / f"round_000{k}" / "model.npz" for k in (0, 1)]
    shutil.copy(models[0], tmp_path / "teacher.npz")
    teacher = {"labelling": {"kind": "surrogate", "model": "teacher.npz"}, "stop.max_rounds": 1}
    config = write_campaign(tmp_path, teacher)
    list(campaign(config).run())
    shutil.copy(models[1], tmp_path / "teacher.npz")
    write_config(tmp_path, teacher | {"stop.max_rounds": 2})
    before = campaign(config)
    with pytest.raises(ConfigError, match="files of the engine"):
        list(before.run())
    shutil.copy(models[0], tmp_path / "teacher.npz")
    *_, last = campaign(config).run()
    assert last == Ended("all 2 rounds are done")


def test_a_calibrated_trigger_stays(tmp_path):
    """Its threshold would be that of another kind."""
    threshold = {"calibrate": "training", "quantile": 0.8, "factor": 0.5}
    trigger = {"kind": "relative_force", "threshold": threshold}
    config = write_campaign(tmp_path, {"explore.trigger": trigger, "stop.max_rounds": 1})
    list(campaign(config).run())
    other = {"explore.trigger": trigger | {"kind": "energy_per_atom"}}
    assert "thresholds were calibrated" in refusal(config, other)


EMPTY = {"explore.trigger.threshold": 1e9, "explore.steps": 6}


@pytest.fixture(scope="module")
def nothing_triggered(tmp_path_factory):
    """Config of a campaign that has ended since nothing triggered in its first round."""
    config = write_campaign(tmp_path_factory.mktemp("nothing"), EMPTY)
    *_, last = campaign(config).run()
    assert last.reason.startswith("nothing triggered in round 1: ")
    return config


def log_of(config):
    lines = (config.with_name("campaign") / "changes.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_round_without_picks_is_explored_again_under_another_explore(nothing_triggered, tmp_path):
    config = copy_campaign(nothing_triggered, tmp_path)
    before = campaign(config).store.exploration(1).read_trace()
    write_config(tmp_path, {"stop.max_rounds": 1})
    running = campaign(config)
    store = running.store
    assert running.reopened == 1
    assert store.completed_rounds() == 1
    assert [(entry["round"], entry["explored_again"]) for entry in log_of(config)] == [
        (1, True)
    ] * len(running.changes)
    *_, last = running.run()
    assert last == Ended("the one round is done")
    assert store.read_report(1).picks == 3
    aside = store.round_directory(1).with_name("round_0001_empty_1")
    np.testing.assert_array_equal(SavedExploration(aside).read_trace(), before)
    # with the old random numbers the first steps would be the same
    assert not np.isclose(store.exploration(1).read_trace()[0, 2], before[0, 2])
    again = campaign(config)
    assert (again.changes, again.reopened) == ([], None)
    assert list(again.run()) == [last]


@pytest.mark.parametrize(
    "changes", [{"threads": 2}, {"explore.log": True}, {"explore.trajectory_interval": 2}]
)
def test_nothing_else_opens_a_round_again(nothing_triggered, tmp_path, changes):
    config = copy_campaign(nothing_triggered, tmp_path)
    write_config(tmp_path, EMPTY | changes)
    running = campaign(config)
    assert running.changes
    assert running.reopened is None
    (last,) = running.run()
    assert last.reason.startswith("nothing triggered in round 1: ")


@pytest.mark.parametrize("killed", ["logged", "moved", "explored"])
def test_killed_while_a_round_is_opened_again(nothing_triggered, tmp_path, killed):
    """What a kill leaves is a copy of the directory at that moment, or made step by step."""
    whole = copy_campaign(nothing_triggered, tmp_path / "whole")
    config = copy_campaign(nothing_triggered, tmp_path / "killed")
    for folder in (whole.parent, config.parent):
        write_config(folder, {})
    store = Store(config.with_name("campaign"))
    if killed == "explored":
        running = campaign(config)
        next(e for e in running.run() if isinstance(e, Progress) and "1/3 picks" in e.detail)
        config = copy_campaign(config, tmp_path / "copy")
    else:
        store.log_changes([{"field": "explore.steps", "explored_again": True}])
    if killed == "moved":
        store.reopen_round(1, True)
    running = campaign(config)
    assert running.reopened == (1 if killed == "logged" else None)
    *_, last = running.run()
    assert last == Ended("all 2 rounds are done")
    expected = campaign(whole)
    list(expected.run())
    assert_same_campaign(running.store, expected.store)
    assert any(entry.get("explored_again") for entry in log_of(config))


def test_a_round_is_opened_again_as_often_as_it_takes(nothing_triggered, tmp_path):
    config = copy_campaign(nothing_triggered, tmp_path)
    for k, temperature_K in enumerate((1300.0, 1400.0), start=1):
        write_config(tmp_path, EMPTY | {"explore.temperature_K": temperature_K})
        running = campaign(config)
        assert running.reopened == 1
        *_, last = running.run()
        assert last.reason.startswith("nothing triggered in round 1: ")
        assert running.store.explored_before(1) == k
    write_config(tmp_path, {"stop.max_rounds": 1})
    *_, last = campaign(config).run()
    assert last == Ended("the one round is done")


def test_a_calibrated_trigger_may_change_where_it_never_fired(tmp_path):
    """And is calibrated again."""
    threshold = {"calibrate": "training", "quantile": 0.8, "factor": 1e9}
    trigger = {"kind": "relative_force", "threshold": threshold}
    config = write_campaign(
        tmp_path, {"explore.steps": 6, "explore.trigger": trigger, "stop.max_rounds": 1}
    )
    store = campaign(config).store
    list(campaign(config).run())
    (first,) = store.read_thresholds()
    lower = {"explore.trigger": trigger | {"threshold": threshold | {"factor": 0.1}}}
    running = change(config, lower)
    assert running.reopened == 1
    *_, last = running.run()
    assert last == Ended("the one round is done")
    assert store.read_thresholds() == [pytest.approx(1e-10 * first)]
    assert store.read_report(1).picks > 0


def test_two_processes_that_begin_at_once_make_one_campaign(tmp_path, monkeypatch):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    check = beginning.check_inputs

    def slowly(given):
        monkeypatch.setattr(beginning, "check_inputs", check)
        campaign(write_config(tmp_path, {"stop.max_rounds": 1, "seed": 7}))
        return check(given)

    monkeypatch.setattr(beginning, "check_inputs", slowly)
    with pytest.raises(ConfigError, match="seed: "):
        campaign(config)
