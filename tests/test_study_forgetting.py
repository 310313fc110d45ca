"""scripts/study_forgetting.py: its structures, and its table in the docs."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_forgetting as study
from study_forgetting import BEGIN, END


def test_two_kinds_of_structures():
    crystals, clusters = study.crystals(4, 0), study.clusters(4, 0)
    assert {symbol for atoms in crystals for symbol in atoms.symbols} == {"Cu", "Au"}
    for atoms in clusters:
        assert 9 <= len(atoms) <= 16
        assert not atoms.pbc.any()
        assert np.abs(atoms.arrays["REF_forces"]).max() < 30.0
        assert min(np.delete(atoms.get_distances(0, range(len(atoms))), 0)) > 1.2


def test_the_page_holds_what_is_on_file(tmp_path):
    results = json.loads(study.RESULTS.read_text())
    text = study.PAGE.read_text()
    assert text.split(BEGIN)[1].split(END)[0] == study.table(results)
    assert {*study.ways(Path("replay.extxyz"))} <= results.keys()
    page = tmp_path / "page.md"
    page.write_text(text.replace("| before |", "| earlier |"))
    study.main(["report", "--page", str(page)])
    assert page.read_text() == text
