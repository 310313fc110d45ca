"""The tables of docs/wrong_labels.md, from the file of judged rounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nshot.tables import markdown

BEGIN, END = "<!-- written by scripts/study_wrong_labels.py report -->\n", "<!-- end -->\n"
INTRODUCTION = "# Are wrong labels found?\n\n"
Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """What was found of each round of each run, the latest of it."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [*{(r["system"], r["run"], r["round"]): r for r in lines}.values()]


def write_page(records: Sequence[Record], page: Path) -> str:
    """Write the tables between the markers of the page; returns them."""
    text = tables(records)
    old = page.read_text() if page.exists() else INTRODUCTION + BEGIN + END
    head, rest = old.split(BEGIN)
    page.write_text(f"{head}{BEGIN}{text}{END}{rest.split(END)[1]}")
    return text


def tables(records: Sequence[Record]) -> str:
    """Right labels set aside, and wrong ones, as Markdown."""
    systems = sorted({record["system"] for record in records})
    right = {s: _sum(records, s, lambda r: r["right"]) for s in systems}
    alarms = {s: _sum(records, s, lambda r: len(r["alarms"])) for s in systems}
    runs = {s: len({r["run"] for r in records if r["system"] == s}) for s in systems}
    rows = [[s, str(runs[s]), str(right[s]), str(alarms[s])] for s in systems]
    text = markdown(["right labels of", "runs", "labels", "set aside"], rows) + "\n\n"
    return text + _wrong(records) + "\n\n" + _by_round(records) + "\n"


def _wrong(records: Sequence[Record]) -> str:
    """Wrong labels by fault and system, and how many kinds are caught for the most part."""
    asked: Counter[tuple[str, str]] = Counter()
    caught: Counter[tuple[str, str]] = Counter()
    for record in records:
        for name, (number, found) in record["wrong"].items():
            asked[name, record["system"]] += number
            caught[name, record["system"]] += found
    systems = sorted({system for _, system in asked})
    names = [*dict.fromkeys(name for name, _ in asked)]
    rows = []
    for name in names:
        cells = [
            f"{caught[name, s]} of {asked[name, s]}" if asked[name, s] else "-" for s in systems
        ]
        rows.append([name, *cells])
    counts = []
    for s in systems:
        kinds = [name for name in names if asked[name, s]]
        most = sum(2 * caught[name, s] > asked[name, s] for name in kinds)
        counts.append(f"{most} of {len(kinds)}")
    rows.append(["kinds of which most are", *counts])
    return markdown(["wrong labels set aside", *systems], rows)


def _by_round(records: Sequence[Record]) -> str:
    """Wrong labels of all kinds together, by the round whose labels were made wrong."""
    counts: dict[str, dict[int, list[int]]] = {}
    for record in records:
        for number, found in record["wrong"].values():
            total = counts.setdefault(record["system"], {}).setdefault(record["round"], [0, 0])
            total[0] += number
            total[1] += found
    rounds = sorted({number for own in counts.values() for number in own})
    rows = [
        [name, *(f"{own[k][1]} of {own[k][0]}" if k in own else "-" for k in rounds)]
        for name, own in sorted(counts.items())
    ]
    header = ["wrong labels of all kinds set aside", *(f"round {number}" for number in rounds)]
    return markdown(header, rows)


def _sum(records: Sequence[Record], system: str, count: Any) -> int:
    return sum(count(record) for record in records if record["system"] == system)
