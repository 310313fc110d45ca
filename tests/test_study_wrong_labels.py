"""scripts/study_wrong_labels.py on a small campaign."""

import re
import sys
from pathlib import Path

from helpers.campaigns import ended, write_campaign

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_wrong_labels as study
from wrong_labels.faults import FAULTS
from wrong_labels.report import BEGIN, END, read_records, tables


def test_every_fault_is_counted(tmp_path, capsys):
    store, _ = ended(write_campaign(tmp_path, {"stop.max_rounds": 1}))
    page, results = tmp_path / "page.md", tmp_path / "results.jsonl"
    kept = ["--results", str(results)]
    for _ in range(2):  # the second time in place of the first
        assert study.main(["run", "--campaigns", str(store.directory), *kept]) == 0
    assert study.main(["report", "--page", str(page), *kept]) == 0
    text = page.read_text()
    assert text.split(BEGIN)[1].split(END)[0] in capsys.readouterr().out
    assert f"| {tmp_path.name} | 1 | 3 | 0 |" in text
    told = [name for name in FAULTS if "stress" not in name]
    assert all(f"| {name} | " in text for name in told)
    assert "| energy off by 50 eV | 1 of 1 |" in text
    assert "| forces in kJ/mol/A | 1 of 1 |" in text
    kinds = re.search(r"kinds of which most are \| (\d+) of (\d+)", text)
    assert int(kinds[1]) >= 18
    assert int(kinds[2]) == len(told) + 2
    page.write_text("Before.\n" + text + "After.\n")
    study.main(["report", "--page", str(page), *kept])
    assert page.read_text() == "Before.\n" + text + "After.\n"


def test_the_page_holds_what_is_on_file():
    before = study.PAGE.read_text()
    assert before.split(BEGIN)[1].split(END)[0] == tables(read_records(study.RESULTS))
