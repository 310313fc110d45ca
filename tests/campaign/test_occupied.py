"""Directories that hold other things, have lost their config, or move while a campaign runs."""

import shutil

import pytest
from helpers.campaigns import campaign, ended, write_campaign

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended
from ase_bayesel.cli.shared import existing_campaign
from ase_bayesel.errors import LockedError, StoreError


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def config(tmp_path):
    return write_campaign(tmp_path / "config", {"stop.max_rounds": 1})


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["inputs/mine.extxyz", "inputs/prior.npz"], StoreError),
        (["round_0001/notes.txt"], StoreError),
        (["round_0001_empty_1/notes.txt"], StoreError),
        (["report.html"], StoreError),
        (["thresholds.json"], StoreError),
        (["changes.jsonl"], StoreError),
        (["config.yaml"], StoreError),
        (["lock"], LockedError),
    ],
    ids=str,
)
def test_nothing_of_others_is_touched(names, error, config, tmp_path):
    folder = tmp_path / "mine"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("labels: {store: of somebody else}")
    before = contents(folder)
    with pytest.raises(error, match=str(folder)):
        Campaign(load_config(config), folder)
    assert contents(folder) == before


def test_other_files_are_left_alone(config, tmp_path):
    folder = tmp_path / "mine"
    for name in ("notes.txt", "data/train.xyz", "potential.model", "labels/notes.txt", "a.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of somebody else: {name}")
    before = contents(folder)
    list(Campaign(load_config(config), folder).run())
    after = contents(folder)
    assert {name: after[name] for name in before} == before


def test_a_beginning_that_was_interrupted_is_made_anew(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ase_bayesel.campaign.store.Store.write_config", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            campaign(config)
    store, _ = ended(config)
    assert store.completed_rounds() == 2


def test_a_stored_config_that_is_gone_is_told(config):
    store, _ = ended(config)
    before = contents(store.directory)
    content = store.config_path.read_bytes()
    store.config_path.unlink()
    with pytest.raises(StoreError, match=r"config\.yaml: is gone, and without it"):
        campaign(config)
    with pytest.raises(StoreError, match=r"config\.yaml: is gone, and without it"):
        existing_campaign(config, store.directory)
    store.config_path.write_bytes(content)
    assert contents(store.directory) == before
    campaign(config)


def test_a_directory_that_moves_is_told_and_goes_on_where_it_is(config, tmp_path):
    running, elsewhere = campaign(config), tmp_path / "elsewhere"
    events = running.run()
    next(events)
    running.store.directory.rename(elsewhere)
    with pytest.raises(StoreError, match="was moved, renamed or emptied while the campaign ran"):
        list(events)
    shutil.rmtree(running.store.directory, ignore_errors=True)
    *_, last = Campaign(load_config(config), elsewhere).run()
    assert isinstance(last, Ended)


def test_a_config_that_goes_while_it_runs_is_told(config):
    running = campaign(config)
    events = running.run()
    next(events)
    running.store.config_path.unlink()
    with pytest.raises(StoreError, match="emptied while the campaign ran"):
        list(events)
