"""A campaign keeps to one way through linear ACE."""

import os
from types import SimpleNamespace

import pytest
from helpers.campaigns import campaign, write_campaign

from ase_bayesel.campaign import passes
from ase_bayesel.campaign.passes import same_passes
from ase_bayesel.descriptors import compiled
from ase_bayesel.descriptors.compiled import SWITCH, wanted
from ase_bayesel.errors import ConfigError, StoreError

CONFIG = SimpleNamespace(descriptor=SimpleNamespace(kind="ace"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Whether a run has compiled passes, where numba is or is not, and the switch is set or not."""
    store = SimpleNamespace(directory=tmp_path, round_directory=lambda n: tmp_path / f"round_{n}")

    def once(installed, switch=None, config=CONFIG):
        monkeypatch.setattr(compiled, "INSTALLED", installed)
        monkeypatch.delenv(SWITCH, raising=False)
        if switch is not None:
            monkeypatch.setenv(SWITCH, switch)
        with same_passes(config, store):
            found = wanted()
        assert os.environ.get(SWITCH) == switch
        return found

    return once


@pytest.mark.parametrize("began", [True, False])
def test_goes_on_as_it_began(run, began):
    assert run(began) == began
    assert run(True) == began


def test_refuses_to_go_on_without_numba_unless_told(run):
    assert run(True)
    with pytest.raises(ConfigError, match=r"fast.*BAYESEL_COMPILED=0"):
        run(False)
    assert not run(False, "0")
    assert not run(True)
    assert run(True, "1")
    assert run(True)


def test_older_campaigns_go_on_the_only_way_they_had(run, tmp_path):
    (tmp_path / "round_1").mkdir()
    assert not run(True)


def test_other_descriptors_note_nothing(run, tmp_path):
    assert run(True, config=SimpleNamespace(descriptor=SimpleNamespace(kind="mace")))
    assert not list(tmp_path.iterdir())


def test_damage_is_named(run, tmp_path):
    (tmp_path / "ace_passes").write_bytes(b"\xff\x00")
    with pytest.raises(StoreError, match="ace_passes: is damaged"):
        run(True)


def test_a_run_notes_its_way(tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "wanted", lambda: True)
    running = campaign(write_campaign(tmp_path))
    events = running.run()
    next(events)
    assert (running.store.directory / "ace_passes").read_text() == "compiled\n"
    events.close()
    assert SWITCH not in os.environ
