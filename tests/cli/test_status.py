"""`bayesel status --json` and `--watch`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.campaigns import copy_campaign, write_campaign
from helpers.command_line import BAYESEL, ENVIRONMENT, call
from helpers.files import hashes

from ase_bayesel import Campaign, load_config
from ase_bayesel.campaign.events import Ended, Progress, best_round
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli.status import status_lines

PAGE = Path(__file__).parents[2] / "docs" / "running.md"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = write_campaign(tmp_path_factory.mktemp("finished"))
    for _ in Campaign(load_config(config), directory(config)).run():
        pass
    return config


def directory(config):
    return config.with_name(f"{config.stem}_campaign")


def values(config, *options):
    result = call("status", config, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=pytest.fail)  # which NaN would call


def test_a_finished_campaign(finished):
    found, store = values(finished), Store(directory(finished))
    reports = [store.read_report(k) for k in range(3)]
    best = best_round(reports)
    assert found["format"] == "ase_bayesel.status/1"
    assert found["ended"] == "all 2 rounds are done"
    assert found["under_way"] is None
    assert [row["round"] for row in found["rounds"]] == [0, 1, 2]
    for row, report in zip(found["rounds"], reports, strict=True):
        assert row["structures"] == report.n_train
        assert row["picks"] == report.picks
        assert row["energy_rmse"] == report.energy_rmse
        assert row["forces_rmse"] == report.forces_rmse
    assert found["labels"]["done"] == store.used_labels().counts().labels
    assert (found["best_round"], found["model"]) == (best, str(store.model_path(best)))
    assert found["potential"] is None
    assert values(directory(finished)) == found


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "--json"]])
def test_nothing_heavy_is_loaded(finished, arguments):
    names = ("torch", "scipy", "matplotlib", "sklearn", "numba", "ase.io", "ase.constraints")
    code = (
        "import sys; from ase_bayesel.cli.main import app; app(sys.argv[1:], standalone_mode=False)"
        f"; print('loaded', *(n for n in {names!r} if n in sys.modules))"
    )
    command, *options = arguments
    options = options if command == "--help" else [str(finished), *options]
    line = [sys.executable, "-c", code, command, *options]
    run = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) > 3
    assert run.stdout.splitlines()[-1] == "loaded"


def test_labels_that_wait_and_walkers_that_stopped(finished, tmp_path):
    """With an error that is not there."""
    config = copy_campaign(finished, tmp_path / "copy")
    path = Store(directory(config)).round_directory(2) / "report.json"
    raw = json.loads(path.read_text())
    suspect = {"name": "s1", "found": "energy off", "cause": "another unit"}
    raw |= {"suspects": [suspect], "forces_rmse": None, "stopped": ["walker 0 stopped"]}
    path.write_text(json.dumps(raw))
    found = values(config)
    assert found["to_decide"] == ["s1"]
    assert found["rounds"][2]["set_aside"] == ["s1"]
    assert found["rounds"][2]["forces_rmse"] is None
    assert found["rounds"][2]["told"][0] == "walker 0 stopped"


def test_columns_beside_a_network(finished, tmp_path):
    """The gain is of the linear model, and says nothing of another potential."""
    copied = directory(copy_campaign(finished, tmp_path / "copy"))
    assert re.search(r"\bgain\b", call("status", copied).stdout)
    path = Store(copied).config_path
    settings = yaml.safe_load(path.read_text())
    settings["potential"] = {"kind": "mace", "model": "my.model"}
    path.write_text(yaml.safe_dump(settings))
    result = call("status", copied)
    assert result.exit_code == 0, result.output
    assert not re.search(r"\bgain\b", result.stdout)
    assert "fired" in result.stdout


def test_while_it_runs(tmp_path):
    """After every eighth event: picks grow, walkers move, and nothing is written."""
    config, picks, steps = write_campaign(tmp_path, {"stop.max_rounds": 1}), [], []
    for k, event in enumerate(Campaign(load_config(config), directory(config)).run()):
        ended = isinstance(event, Ended)
        if k % 8 and not ended:
            continue
        before = hashes(directory(config))
        found = values(config)
        assert hashes(directory(config)) == before
        now = found["under_way"]
        if now is not None and now["round"] == 1:
            picks.append(now["picks"])
            steps.append(sum(walker["step"] for walker in now["walkers"]))
            assert now["threshold"] == 0.01
            assert now["bound"] is None
        assert found["ended"] == (event.reason if ended else None)
    assert picks == sorted(picks)
    assert picks[-1] == 3
    assert steps == sorted(steps)
    assert steps[-1] > 0


def test_the_keys_are_documented(finished, tmp_path):
    """All of them, with those of a round under way, and no other."""
    documented = set(re.findall(r"^\| `([\w.]+)` \|", section(), re.MULTILINE))
    running = copy_campaign(finished, tmp_path / "copy")
    (Store(directory(running)).round_directory(2) / "DONE").unlink()
    assert documented == {*paths(values(finished)), *paths(values(running))}


def section():
    return PAGE.read_text().split("## Where a campaign stands")[1].split("\n## ")[0]


def paths(value, place=""):
    """Dotted keys of nested mappings, and of the first of a list of them."""
    if isinstance(value, list):
        return paths(value[0], place) if value and isinstance(value[0], dict) else []
    if not isinstance(value, dict):
        return []
    found = []
    for key, below in value.items():
        found += [place + key, *paths(below, f"{place}{key}.")]
    return found


def test_watching_ends_with_the_campaign(finished):
    result = call("status", finished, "--watch", 0.1)
    assert result.exit_code == 0
    assert result.stdout == call("status", finished).stdout
    assert call("status", finished, "--watch", 0).exit_code == 2


def test_watching_one_that_is_left(finished, tmp_path):
    """A line of JSON each time, until Ctrl-C."""
    config = copy_campaign(finished, tmp_path / "copy")
    (Store(directory(config)).round_directory(2) / "DONE").unlink()
    process = subprocess.Popen(
        [BAYESEL, "status", str(config), "--json", "--watch", "0.1"],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):
        assert json.loads(process.stdout.readline())["under_way"]["round"] == 2
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (0, 75)


def test_the_stage_of_the_round(tmp_path):
    """Labels that an engine has given are not asked for again while the model is refitted."""
    settings = {"stop.max_rounds": 1, "labels": {"start": "batch"}}
    config, told = write_campaign(tmp_path, settings), {}
    for event in Campaign(load_config(config), directory(config)).run():
        if isinstance(event, Progress):
            lines = list(status_lines(Store(directory(config)), ()))
            stage = values(config)["under_way"]["stage"]
            told[event.round_number, event.stage] = (stage, lines[0], lines[-1])
    assert told[0, "fit"][:2] == ("refit", "round 0: now the first fit is made")
    assert told[1, "explore"][0] == "explore"
    assert told[1, "label"][0] == "label"
    stage, line, following = told[1, "fit"]
    assert stage == "refit"
    assert line == "round 1: 3 picks, whose labels have come; now the model is refitted"
    assert following.startswith("next: go on, because only round 0, the first fit, is done")


def test_labels_by_hand_are_asked_for(tmp_path):
    config = write_campaign(tmp_path, {"labelling": "none", "stop.max_rounds": 1})
    for _ in Campaign(load_config(config), directory(config)).run():
        pass
    store = Store(directory(config))
    line, *_, following = status_lines(store, ())
    assert line.startswith(f"round 1: 3 picks in {store.batch_path(1)}; ")
    assert str(store.by_hand_path(1)) in line
    assert following == "next: label the batch, because the next fit waits for its labels"


def test_warnings_and_notes_are_marked(finished, tmp_path):
    config = copy_campaign(finished, tmp_path / "copy")
    store = Store(directory(config))
    for number, eV in ((1, 0.5), (2, 0.25)):
        path = store.round_directory(number) / "report.json"
        shift = {"energies": {"Cu": eV}, "source": "given"}
        changes = {"energy_shift": shift, "warnings": ["fit: odd"], "n_test": 1}
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    lines = list(status_lines(store, range(3)))
    assert [line for line in lines if "fit: odd" in line] == [
        f"warning: round {number}: fit: odd" for number in (1, 2)
    ]
    (shift,) = (line for line in lines if "energy shift" in line)
    assert shift.startswith("note: round 2: energy shift Cu +0.25 eV per atom")
    assert "note: 1 label is for the test, and in no fit" in lines
