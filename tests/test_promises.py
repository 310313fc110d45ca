"""Promises of docs/running.md, resources.md and security.md that belong to no single module."""

import re
import stat
import sys
from pathlib import Path

import pytest
import yaml
from helpers.campaigns import (
    calls,
    campaign,
    campaign_settings,
    counted,
    ended,
    pick_ids,
    write_campaign,
)
from helpers.command_line import call

from ase_bayesel.campaign import canary, fit_warnings, screening
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.events import Progress, RoundReport
from ase_bayesel.cli import report, stopping
from ase_bayesel.errors import ConfigError
from ase_bayesel.io import bounded_yaml, leases
from ase_bayesel.labelling import by_hand, labeller
from ase_bayesel.resources import batch, jobs
from ase_bayesel.resources.base import MAX_DEATHS
from ase_bayesel.resources.encryption import key_in_files
from ase_bayesel.structures import checks
from ase_bayesel.surrogate.exchange import yace_reading

DOCS = Path(__file__).parents[1] / "docs"
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def number(text):
    return float(WORDS.index(text) if text in WORDS else text.replace(",", ""))


@pytest.mark.parametrize(
    ("page", "sentence", "values"),
    [
        ("running", r"differ by more than (\S+) meV/atom", [1e3 * canary.ENERGY_EV]),
        ("running", r"differs by more than (\d+) meV/A", [1e3 * canary.FORCE_EV_A]),
        (
            "running",
            r"forces surprise (\w+) times .*, or one component of them (\w+) times",
            [screening.FORCES, screening.ONE_FORCE],
        ),
        (
            "running",
            r"virial (\w+) times, or its energy, by more than (\d) meV/atom, (\w+) times",
            [screening.TIMES["virial"], 1e3 * screening.HARMLESS_EV, screening.TIMES["energy"]],
        ),
        ("running", r"factor beyond (\S+) to (\S+), or a sign", screening.FACTORS),
        ("running", r"at least (\w+) times what training", [screening.BEYOND_KNOWN]),
        ("running", r"more than a factor of (\w+) since", [fit_warnings.JUMP]),
        ("running", r"structures, (\w+) at most, have", [fit_warnings.MOST_NAMED]),
        ("running", r"beyond (\w+) times the noise", [fit_warnings.BEYOND]),
        ("running", r"differ by more than (\d) meV or 1 meV/A", [1e3 * by_hand.SAME_EV]),
        ("running", r"exit code (\d+): run again", [stopping.EXIT_RUN_AGAIN]),
        ("running", r"for up to (\w+) seconds, everything is written", [stopping.GRACE_S]),
        ("running", r"touched every (\w+) seconds", [leases.HEARTBEAT_S]),
        ("running", r"after (\w+) minutes without a touch", [leases.STALE_S / 60]),
        ("running", r"takes (\w+) workers down", [MAX_DEATHS]),
        ("resources", r"(\w+) workers lost over the same task", [MAX_DEATHS]),
        ("resources", r"every (\d+) s while one has no workers", [jobs.QUEUE_S]),
        ("resources", r"nothing to do ends after (\w+) minutes", [jobs.IDLE_S / 60]),
        ("resources", r"Jobs that end (\w+) times in a row", [jobs.FRUITLESS]),
        ("resources", r"during which (\w+) jobs have ended fails", [MAX_DEATHS]),
        ("resources", r"starts again, (\w+) times at most", [labeller.MAX_TERMINATED]),
        ("resources", r"waiting ones (\w+) minute after", [batch.DEATH_TIMEOUT_S / 60]),
        ("security", r"no more than (\S+) values once aliases", [bounded_yaml.MAX_VALUES]),
        ("security", r"more than (\d+) lists inside one another", [bounded_yaml.MAX_DEPTH]),
        ("security", r"a value of more than (\d+) characters", [bounded_yaml.MAX_SCALAR]),
        ("security", r"a basis has (\d+) features at most", [yace_reading.FREE_FEATURES]),
        ("data", r"two atoms within (\S+) A \(images", [checks.ON_TOP_A]),
        ("data", r"coordinates beyond (\S+) A", [checks.LARGEST_A]),
    ],
)
def test_numbers_are_those_of_the_code(page, sentence, values):
    text = " ".join((DOCS / f"{page}.md").read_text().split())
    found = re.search(sentence, text)
    assert found is not None
    words = ["one" if word == "a" else word.lower() for word in found.groups()]
    assert [number(word) for word in words] == pytest.approx(list(values))


def test_pages_between_rounds_take_a_tenth_of_the_time(monkeypatch):
    """Rounds of 1 s, pages of 0.35 s: the second page waits until 3.5 s have gone."""
    clock, written = [0.0], []

    def page(store):
        written.append(clock[0])
        clock[0] += 0.35

    def rounds():
        for k in range(8):
            clock[0] += 1.0
            yield Progress(k, "explore", 1, 1)
            yield RoundReport(k, 1, 0)

    monkeypatch.setattr(report, "write_report", page)
    monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
    assert len(list(report.reported(rounds(), None))) == 16
    assert written == pytest.approx([1.0, 4.35, 7.7])


def test_campaigns_that_share_a_store_pay_once(tmp_path):
    """Also for the canary; and labels that wait for the batch change no pick."""
    shared = {"labels": {"store": str(tmp_path / "store")}, "stop.max_rounds": 1}
    labelling = counted(tmp_path / "one", shared)
    settings = yaml.safe_load(labelling.read_text())["labelling"] | {"canary": True}
    one = write_campaign(tmp_path / "one", shared | {"labelling": settings})
    late = {"labels": shared["labels"] | {"start": "batch"}}
    two = write_campaign(tmp_path / "two", shared | late | {"labelling": settings})
    first, _ = ended(one)
    paid = calls(one)
    assert len(paid) == len(set(paid)) == 1 + 3
    second, _ = ended(two)
    assert calls(one) == paid
    assert pick_ids(second) == pick_ids(first)


CLASS = "helpers.imports_are_noted:Engine"


@pytest.mark.parametrize(
    "section",
    ["descriptor", "potential", "refit", "explore.trigger", "explore.ensemble", "workers.refit"],
)
def test_only_an_engine_may_be_a_class_from_elsewhere(section, monkeypatch, tmp_path):
    monkeypatch.setenv("NOTE_OF_IMPORT", str(tmp_path / "imported"))
    monkeypatch.delitem(sys.modules, "helpers.imports_are_noted", raising=False)
    with pytest.raises(ConfigError, match=re.escape(section)):
        validate_config(campaign_settings({section: {"kind": CLASS}}), "c.yaml", tmp_path)
    assert not (tmp_path / "imported").exists()


def test_validate_starts_no_program(tmp_path):
    """Neither that of a refit nor that of an engine."""
    mark, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    (tmp_path / "scale.txt").write_text("1.0")
    config = write_campaign(
        tmp_path,
        {
            "potential": {
                "kind": "import",
                "factory": "helpers.calculators:ScaledEMT",
                "model": "scale.txt",
            },
            "refit": {"kind": "command", "command": [str(program), "{train}", "{output}"]},
            "labelling": {
                "kind": "castep",
                "command": [str(program)],
                "parameters": {
                    "param": {"xc_functional": "PBE", "cut_off_energy": 300},
                    "cell": {"kpoints_mp_grid": [1, 1, 1]},
                },
            },
        },
    )
    for command in (["validate"], ["validate", "--files"]):
        result = call(*command, config)
        assert result.exit_code == 0, result.output
    assert not mark.exists()


def test_looking_at_a_campaign_runs_nothing_of_its_config(tmp_path, monkeypatch):
    """Nor does it import what the config names."""
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    running = campaign(config)
    next(event for event in running.run() if isinstance(event, RoundReport))
    stored = running.store.directory / "config.yaml"
    settings = yaml.safe_load(stored.read_text())
    factory = "helpers.imports_are_noted:EMT"
    settings["labelling"]["factory"] = factory
    settings["potential"] = {"kind": "import", "factory": factory}
    stored.write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("NOTE_OF_IMPORT", str(tmp_path / "imported"))
    monkeypatch.delitem(sys.modules, "helpers.imports_are_noted", raising=False)
    for command in ("status", "report"):
        result = call(command, running.store.directory)
        assert result.exit_code == 0, result.output
    assert not (tmp_path / "imported").exists()


def test_the_key_of_jobs_is_for_this_user_alone(tmp_path):
    with key_in_files(tmp_path) as security:
        folder = Path(security.tls_scheduler_key).parent
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
