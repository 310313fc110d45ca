"""docs/how-to/from_nothing.md: its commands do what it says."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from ase.build import molecule
from helpers.command_line import call

from ase_bayesel import Surrogate
from ase_bayesel.campaign.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "from_nothing.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
COPPER = [line for line in COMMANDS if "copper.yaml" in line]


def typed(line):
    """What a line of the page does in this folder."""
    program, *arguments = shlex.split(line)
    assert program == "bayesel"
    return call(*arguments)


def shortened(config):
    """The same config with fewer steps, and one round."""
    settings = yaml.safe_load(config.read_text())
    settings["explore"] |= {"steps": 30, "walkers": 2, "picks": 2}
    settings["explore"] |= {"check_interval": 2, "pick": {"settling_fs": 0.0}}
    settings["explore"]["trigger"] = {"kind": "relative_force", "threshold": 0.001, "eps": 0.5}
    settings["data"]["train"]["bootstrap"] |= {"strained": 3, "rattled": 4, "test": 3}
    settings["workers"] = {"labelling": {"kind": "here"}}
    settings["stop"] = {"max_rounds": 1}
    config.write_text(yaml.safe_dump(settings))


@pytest.mark.slow
def test_copper_from_its_name_to_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [line.split()[1] for line in COPPER] == ["init", "validate", "run", "report"]
    for line in COPPER:
        result = typed(line)
        assert result.exit_code == 0, result.output
        if "init" in line:
            shortened(tmp_path / "copper.yaml")
    store = Store(tmp_path / "copper_campaign")
    assert store.completed_rounds() == 2
    first, last = (store.read_report(k) for k in range(2))
    assert (first.n_train, first.n_labels, first.failed) == (8, 11, 0)
    assert last.n_train == 8 + last.picks > 8
    assert 0 < last.energy_rmse < 0.05
    page = (store.directory / "report.html").read_text()
    assert "<html" in page
    assert list(Surrogate.load(store.model_path(1)).e0s) == ["Cu"]


@pytest.mark.parametrize("line", [line for line in COMMANDS if " init " in line])
def test_every_init_of_the_page_works(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    molecule("H2O").write("h2o.xyz")
    result = typed(line)
    assert result.exit_code == 0, result.output
    assert "wrote " in result.output


def test_files_of_the_page_are_those_that_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in (line for line in COMMANDS if "hand.yaml" in line or "copper.yaml --el" in line):
        typed(line)
    for name in ("copper_starts.extxyz", "hand_first.extxyz"):
        assert name in PAGE
        assert (tmp_path / name).is_file()
    assert "hand_train.extxyz" in (tmp_path / "hand.yaml").read_text()
