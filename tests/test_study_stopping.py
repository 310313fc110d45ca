"""scripts/study_stopping.py on a small system and on runs made up."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_stopping as study
from nshot.systems import KEYS, Silicon
from nshot.systems_more import SYSTEMS
from stopping.report import BEGIN, END
from stopping.rules import RULES, regret


@dataclass(frozen=True)
class Small(Silicon):
    """Few test frames, a small student."""

    name = "small"
    descriptor = {"kind": "ace", "elements": ["Si"], "totaldegree": 6, "cutoff": 4.0}
    test_frames = 6

    def starts(self):
        from ase.build import bulk

        return [bulk("Si", a=5.43, cubic=True)]


def kept(path, system, count):
    """Rattled cells as if a campaign had picked them, at every other look."""
    frames = [system.starts()[0] for _ in range(count)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.2, seed=k)
    frames = system.label(frames)
    trace = np.zeros((2 * count, 5))
    trace[:, 3], trace[1::2, 4] = np.linspace(0.4, 0.0, 2 * count), 1
    np.savez(
        path,
        sizes=[len(atoms) for atoms in frames],
        cells=[atoms.cell.array for atoms in frames],
        energies=[atoms.info[KEYS.energy] for atoms in frames],
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        positions=np.concatenate([atoms.positions for atoms in frames]),
        forces=np.concatenate([atoms.arrays[KEYS.forces] for atoms in frames]),
        trace=trace,
    )


@pytest.mark.slow
def test_kept_runs_are_judged_and_written(tmp_path, monkeypatch):
    monkeypatch.setitem(SYSTEMS, "small", Small)
    kept(tmp_path / "small_poor_default_3.npz", Small(tmp_path), 10)
    results, page = tmp_path / "stopping.jsonl", tmp_path / "page.md"
    folders = ["--picks", str(tmp_path), "--cache", str(tmp_path)]
    runs = ["--system", "small", "--seeds", "3", "--results", str(results)]
    command = ["run", *runs, *folders]
    assert study.main(command) == 0
    assert study.main(command) == 0
    (record,) = map(json.loads, results.read_text().splitlines())
    assert [point["labels"] for point in record["points"]] == [0, 5, 10]
    first, half, last = record["points"]
    assert first["outlooks"] == {}
    assert half["fired"] == {"5": 1.0}
    assert last["fired"] == {"5": pytest.approx(0.1, abs=0.11), "10": pytest.approx(0.5)}
    for found in (half["outlooks"]["5"], last["outlooks"]["10"]):
        for prop in ("energy", "forces"):
            assert found[prop]["before"] > found[prop]["now"] > found[prop]["repeated"]
    assert last["errors"][1] < first["errors"][1]
    page.write_text(f"before\n{BEGIN}{END}after\n")
    assert study.main(["report", "--results", str(results), "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| 5 | others | 1 | the rule |" in text


def point(labels, error, deviation, noise):
    found = {"before": 2 * deviation, "now": deviation, "noise": noise, "repeated": deviation}
    outlooks = {"10": {"energy": found, "forces": found}} if labels else {}
    scales = {"energy": 2.0, "forces": 2.0}
    share = {"10": 0.05} if labels else {}
    made = {"labels": labels, "errors": [error, error], "scales": scales}
    return {**made, "outlooks": outlooks, "fired": share}


RUN = {
    **{"system": "made up", "start": "poor", "arm": "default", "seed": 1},
    "points": [
        point(0, 90.0, 1.0, 0.0),
        point(10, 40.0, 0.04, 0.001),
        point(20, 21.0, 0.01, 0.03),
        point(30, 20.0, 0.005, 0.03),
    ],
}


@pytest.mark.parametrize(
    ("rule", "labels", "error"),
    [("the rule", 0, 1.05), ("10 labels", -10, 2.0), ("never", 10, 1.0)],
)
def test_regrets(rule, labels, error):
    """The best stopping point is at 20 labels, where the noise begins to lead."""
    found = regret(RUN, RULES[rule], "10")
    assert (found.labels, found.error) == (labels, pytest.approx(error))


def test_the_rule_says_what_is_left():
    assert regret(RUN, RULES["the rule"], "10").advice.startswith("enlarge the model")
