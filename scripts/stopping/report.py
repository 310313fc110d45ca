"""Tables of docs/stopping.md, from the file of finished runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from nshot.tables import markdown
from scipy.stats import spearmanr

from .points import BATCHES
from .rules import FORCES, RULES, calibrated, of_size, outlook_of, regret

BEGIN, END = "<!-- written by scripts/study_stopping.py report -->\n", "<!-- end -->\n"
INTRODUCTION = "# When to stop\n\n"
COMMANDS = """```bash
python scripts/study_stopping.py run --system silicon,alloy,adatom,butane --seeds 0
python scripts/study_stopping.py report
```"""
CHOSEN_ON = ("alloy", "silicon")
"""The systems on whose runs the constant of the rule and the way to foretell were chosen."""
FEW = 3
"""Fewer batches have no rank correlation."""
REGRETS = ["labels too many", "labels too few", "error, median", "error, worst"]
Record = Mapping[str, Any]


def write_report(records: Sequence[Record], floors: Mapping[str, float], page: Path) -> None:
    """Write the page between its markers; what is around them stays.

    ``floors`` are force errors of the same students fitted to 200 frames, by system.
    """
    old = page.read_text() if page.exists() else INTRODUCTION + BEGIN + END
    head, rest = old.split(BEGIN)
    page.write_text(f"{head}{BEGIN}{tables(records, floors)}\n{END}{rest.split(END)[1]}")


def tables(records: Sequence[Record], floors: Mapping[str, float]) -> str:
    """All of them; ``floors`` as of `write_report`."""
    systems = Counter(f"{r['system']}, {r['start']} start" for r in records)
    kinds = "; ".join(f"{name}: {count}" for name, count in sorted(systems.items()))
    parts = [
        COMMANDS,
        f"{len(records)} runs ({kinds}).",
        "Where rules stop, beside the best stopping point of each run:",
        _rules(records),
        "Labels are counted from the best stopping point, in the mean over runs; errors are those "
        "of forces at the stop over the lowest of the run.",
        "The rule by system; the floor is the same student fitted to 200 frames:",
        _systems(records, floors),
        "What foretells the force error after the next batch, over that of now:",
        _foretellers(records),
    ]
    return "\n\n".join(parts)


def _rules(records: Sequence[Record]) -> str:
    rows = []
    for size in map(str, BATCHES):
        for systems, own in _by_systems(records):
            for name, rule in RULES.items():
                found = [regret(record, rule, size) for record in own]
                rows.append([size, systems, len(found), name, *_regrets(found)])
    return markdown(["batch", "systems", "runs", "stops at", *REGRETS], rows)


def _by_systems(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    chosen = [r for r in records if r["system"] in CHOSEN_ON]
    others = [r for r in records if r["system"] not in CHOSEN_ON]
    groups = ((", ".join(CHOSEN_ON), chosen), ("others", others))
    return [(name, own) for name, own in groups if own]


def _regrets(found: Sequence[Any]) -> list[str]:
    labels = np.array([one.labels for one in found])
    errors = np.array([one.error for one in found])
    return [
        f"{np.maximum(labels, 0).mean():.1f}",
        f"{np.maximum(-labels, 0).mean():.1f}",
        f"{np.median(errors):.2f}",
        f"{errors.max():.2f}",
    ]


def _systems(records: Sequence[Record], floors: Mapping[str, float]) -> str:
    rows = []
    for size in map(str, BATCHES):
        for name in sorted({record["system"] for record in records}):
            own = [record for record in records if record["system"] == name]
            found = [regret(record, RULES["the rule"], size) for record in own]
            points = [of_size(r, size)[one.place] for one, r in zip(found, own, strict=True)]
            true = np.array([point["errors"][FORCES] for point in points])
            foretold = np.array([1e3 * (calibrated(point, size) or 0.0) for point in points])
            said = Counter(one.advice.split(",")[0] for one in found)
            rows.append(
                [
                    *(size, name, len(own), *_regrets(found)),
                    f"{np.median(foretold / true):.2f}",
                    f"{np.median(true) / floors[name]:.2f}" if name in floors else "-",
                    "; ".join(f"{what}: {count}" for what, count in said.most_common()),
                ]
            )
    names = [*REGRETS, "calibrated over true error", "error over the floor's", "advice there"]
    return markdown(["batch", "system", "runs", *names], rows)


FORETELLERS: dict[str, Callable[[Record, str], float | None]] = {
    "information adds up, and the noise stays: the rule's": lambda p, s: 1 - outlook_of(p, s).gain,
    "information adds up, no noise": lambda p, s: outlook_of(p, s).next / outlook_of(p, s).now,
    "the same batch again": lambda p, s: _repeated(p, s),
    "share of checks that fired": lambda p, s: None if p["fired"][s] is None else -p["fired"][s],
}


def _repeated(point: Record, size: str) -> float:
    found = point["outlooks"][size]["forces"]
    return float(found["repeated"] / found["now"])


def _foretellers(records: Sequence[Record]) -> str:
    rows = []
    for size in map(str, BATCHES):
        pairs = [
            pair for r in records for pair in pairwise(of_size(r, size)) if pair[0]["labels"] > 0
        ]
        if len(pairs) < FEW:
            continue
        true = np.array([after["errors"][FORCES] / now["errors"][FORCES] for now, after in pairs])
        for name, foretold in FORETELLERS.items():
            values = [foretold(now, size) for now, _ in pairs]
            known = np.array([value is not None for value in values])
            x = np.array([value for value in values if value is not None])
            medians = "" if x.min() < 0 else f"{np.median(x):.2f}"
            rank = spearmanr(x, true[known]).statistic
            rows.append(
                [size, int(known.sum()), name, f"{rank:.2f}", medians, f"{np.median(true):.2f}"]
            )
    header = ["batch", "batches", "foretold by", "rank correlation", "median", "median of errors"]
    return markdown(header, rows)
