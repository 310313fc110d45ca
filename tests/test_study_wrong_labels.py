"""scripts/study_wrong_labels.py on a small campaign."""

import sys
from pathlib import Path

from helpers.campaigns import ended, write_campaign

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_wrong_labels as study
from wrong_labels.faults import FAULTS


def test_every_fault_is_counted(tmp_path, capsys):
    store, _ = ended(write_campaign(tmp_path, {"stop.max_rounds": 1}))
    page = tmp_path / "page.md"
    command = ["--campaigns", str(store.directory), "--page", str(page)]
    assert study.main(command) == 0
    text = page.read_text()
    assert text in capsys.readouterr().out
    assert f"| {tmp_path.name} | 3 | 0 |" in text
    told = [name for name in FAULTS if "stress" not in name]
    assert all(f"| {name} | " in text for name in told)
    assert "| energy off by 50 eV | 1 of 1 |" in text
    assert "| forces in kJ/mol/A | 1 of 1 |" in text
