"""scripts/prove_nshot.py on a small system."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.fd import calculate_numerical_forces

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from nshot import quick, tables
from nshot.arms import ARMS, arms_named, settings_of
from nshot.refits import REFITS, refit_key, refit_records
from nshot.report import write_report
from nshot.repulsion import Repulsion
from nshot.runs import Task, read_records, run_all
from nshot.systems import Silicon
from nshot.systems_more import SYSTEMS


@dataclass(frozen=True)
class Small(Silicon):
    """Few test frames, short walks, a small student."""

    name = "small"
    descriptor = {"kind": "ace", "elements": ["Si"], "totaldegree": 6, "cutoff": 4.0}
    test_frames = 6
    floor_frames = 6
    steps = 60

    def starts(self):
        from ase.build import bulk

        return [bulk("Si", a=5.43, cubic=True)]

    def policy_starts(self):
        return self.starts()


class Whole(Calculator):
    """The repulsion as all of a potential."""

    implemented_properties = ["energy"]

    def __init__(self, repulsion):
        super().__init__()
        self.repulsion = repulsion

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.repulsion(self.atoms)[0]}


def entry(labels, energy, forces):
    return {"labels": labels, "refits": 1, "errors": {"all": [energy, forces]}, "picks": 10}


def record(arm, seed, *rounds):
    names = {"system": "s", "start": "poor", "arm": arm, "seed": seed, "max_labels": 20}
    return {**names, "rounds": [entry(*values) for values in rounds], "seconds": {"explore": 3600}}


def test_labels_to_the_floor_count_only_if_it_stays_there():
    run = record("a", 0, (0, 9.0, 90.0), (10, 1.0, 50.0), (20, 3.0, 51.0))
    assert tables.labels_to_floor(run, 1.0, 0) == np.inf
    assert tables.labels_to_floor(run, 47.0, 1) == 10


def test_a_paired_ratio_forgets_what_seeds_share():
    ours, theirs = {0: 2.0, 1: 20.0, 5: 1.0}, {0: 1.0, 1: 10.0, 7: 3.0}
    assert tables.paired_ratio(ours, theirs) == pytest.approx((2.0, 2.0, 2.0))


def test_labels_side_by_side_cost_fewer_waves():
    run = record("a", 0, (0, 1.0, 1.0), (10, 1.0, 1.0))
    assert tables.wall_hours(run, 3600.0, 10) == pytest.approx(1 + 1 + 1)
    assert tables.wall_hours(run, 3600.0, 1) == pytest.approx(1 + 10 + 10)


def test_the_quick_verdict_names_a_loss():
    runs = [record("default", 0, (20, 2.0, 60.0)), record("plain", 0, (20, 1.0, 59.0))]
    table, losses = quick.verdict(runs, ("default", "stale", "plain"))
    assert table.count("\n") == 3
    assert losses == ["default: energy error is 2.00 times that of plain"]


def test_every_arm_and_system_has_a_config():
    for cls in SYSTEMS.values():
        if cls.name != "silicon_ace":
            assert settings_of(ARMS["default"], cls(Path()), "poor", 0, 10)["explore"]["steps"]
    assert set(arms_named("all")) >= set(arms_named("telling"))
    with pytest.raises(ValueError, match="no such arms: absent"):
        arms_named("default,absent")


def test_a_page_keeps_what_is_around_the_tables(tmp_path):
    page = tmp_path / "page.md"
    write_report([], [], page)
    page.write_text(f"{page.read_text()}\nWhat it means.\n")
    write_report([], [], page)
    assert page.read_text().endswith("What it means.\n")
    assert page.read_text().count("prove_nshot.py report -->") == 1


def test_a_repulsion_has_the_forces_of_its_energy():
    atoms = Atoms("SiCSi", [[0, 0, 0], [1.4, 0.2, 0], [0.3, 1.6, 0.4]], cell=[4, 5, 6], pbc=True)
    repulsion = Repulsion(inner=0.5, outer=0.95)
    energy, forces = repulsion(atoms)
    atoms.calc = Whole(repulsion)
    assert energy > 1
    assert forces == pytest.approx(calculate_numerical_forces(atoms, eps=1e-5), rel=1e-5, abs=1e-6)


def test_two_bare_nuclei_repel_by_coulomb_and_bonded_atoms_not_at_all():
    near = Atoms("Si2", [[0, 0, 0], [0, 0, 0.005]])
    assert Repulsion()(near)[0] == pytest.approx(14.3996 * 14**2 / 0.005, rel=0.05)
    assert Repulsion()(Atoms("Si2", [[0, 0, 0], [0, 0, 2.35]]))[0] == 0


@pytest.mark.slow
def test_runs_are_resumed(tmp_path):
    results, said = tmp_path / "runs.jsonl", []
    arms = ("plain", "pool_random", "floor")
    system, picks = Small(tmp_path), tmp_path / "picks"
    tasks = [Task(system, "poor", arm, 0, 4, 0.1, picks) for arm in arms]
    assert run_all(tasks, results, 1, said.append) == [], said
    first = read_records(results)
    assert [r["arm"] for r in first] == list(arms)
    for r in first:
        assert all(np.isfinite(e).all() for entry in r["rounds"] for e in entry["errors"].values())
        assert r["on_policy"]["1T"]["frames"] == 1
    assert [e["labels"] for e in first[0]["rounds"]] == [0, 4]
    lines = results.read_text().splitlines()
    results.write_text("\n".join([lines[0], lines[2], lines[1][:50]]))
    assert run_all(tasks, results, 1, said.append) == []
    again = {r["arm"]: r for r in read_records(results)}
    assert said.count("1 runs to do") == 1
    assert again["pool_random"]["rounds"] == first[1]["rounds"]
    refits = list(refit_records(system, "poor", ["plain"], picks, set()))
    assert [r["refit"] for r in refits] == list(REFITS)
    ended = first[0]["rounds"][-1]["errors"]["all"]
    assert refits[0]["errors"]["all"] == pytest.approx(ended, rel=0.01)
    assert refits[0]["errors"] != refits[3]["errors"]
    assert not list(refit_records(system, "poor", ["plain"], picks, set(map(refit_key, refits))))
    page = tmp_path / "page.md"
    write_report(read_records(results), refits, page)
    assert "| plain | 1 | 1 |" in page.read_text()
    assert "| weights | (1 + dE / s)^2" in (tmp_path / "nshot_tables.md").read_text()
    assert (tmp_path / "nshot_small_poor.png").exists()
