"""Wrong labels on purpose: how many does screening set aside, and how many right ones?

    python scripts/study_wrong_labels.py run --campaigns DIR [DIR ...]   # of bayesel run
    python scripts/study_wrong_labels.py run --stored [NAME ...]         # kept runs of the proof
    python scripts/study_wrong_labels.py run --si2018 DIR                # frames in random order
    python scripts/study_wrong_labels.py report                          # docs/wrong_labels.md

Each label of each batch is judged as it is, and some of them with each fault of
wrong_labels/faults.py in turn. What is found of a round is a line of RESULTS; one that is judged
again takes the place of the line before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wrong_labels.rounds import Round

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "wrong_labels.jsonl"
PAGE = ROOT / "docs" / "wrong_labels.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    from wrong_labels.report import read_records, write_page

    options = _parser().parse_args(arguments)
    if options.command == "report":
        print(write_page(read_records(options.results), options.page))
        return 0
    for one in _rounds(options):
        found = judge(one, options.every)
        with options.results.open("a") as handle:
            handle.write(json.dumps(found) + "\n")
        print(f"{one.name}, round {one.number}: {found['right']} right", *found["alarms"])
    return 0


def judge(one: Round, every: int) -> dict[str, Any]:
    """What screening says of a round, with right and with wrong labels.

    Parameters
    ----------
    one
        The round.
    every
        Every so-manieth label is made wrong; 0 for none.

    Returns
    -------
    A line of the results: number of right labels, what was said of those set aside, and by fault
    how many wrong labels there were and how many of them were set aside.
    """
    import numpy as np
    from wrong_labels.faults import FAULTS, other_e0s, other_structure

    from ase_bayesel.campaign.screening import screened

    labels = [new.labels for new in one.batch]
    found = screened(one.batch, one.scales, training=one.training)
    record = {
        "system": one.system,
        "run": one.name,
        "round": one.number,
        "right": len(found),
        "alarms": [
            f"label {k}: {v.cause} ({v.found})" for k, v in enumerate(found) if v.suspicious
        ],
    }
    asked: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    for k in range(0, len(labels), every) if every else ():
        rng = np.random.default_rng((one.number, k))
        wrong = {
            name: fault(labels[k], one.frames[k], one.batch[k].expected.baseline, rng)
            for name, fault in FAULTS.items()
        }
        other = other_structure(labels, one.frames, k, rng)
        if other is not None:
            wrong["label of another structure"] = other
        for name, label in wrong.items():
            if label is labels[k]:
                continue
            batch = [*one.batch]
            batch[k] = replace(batch[k], labels=label)
            asked[name] += 1
            verdicts = screened(batch, one.scales, training=one.training)
            caught[name] += verdicts[k].suspicious
    if every:
        shifted = other_e0s(labels, one.frames)
        batch = [replace(new, labels=label) for new, label in zip(one.batch, shifted, strict=True)]
        name = "all with other reference energies"
        asked[name] = len(batch)
        verdicts = screened(batch, one.scales, training=one.training)
        caught[name] = sum(verdict.suspicious for verdict in verdicts)
    return {**record, "wrong": {name: [asked[name], int(caught[name])] for name in asked}}


def _rounds(options: argparse.Namespace) -> Iterator[Round]:
    from wrong_labels.rounds import STORED, campaign_rounds, silicon_rounds, stored_rounds

    for directory in options.campaigns:
        yield from campaign_rounds(directory, directory.resolve().parent.name)
    if options.stored is not None:
        names = options.stored or [path.stem for path in sorted(STORED.glob("*.npz"))]
        with tempfile.TemporaryDirectory() as cache:
            for name in names:
                yield from stored_rounds(name, Path(cache))
    if options.si2018 is not None:
        yield from silicon_rounds(options.si2018)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run, report = commands.add_parser("run"), commands.add_parser("report")
    run.add_argument("--campaigns", nargs="+", type=Path, default=[], help="their directories")
    run.add_argument("--stored", nargs="*", help="kept runs of the proof, by default all")
    run.add_argument("--si2018", type=Path, default=None, help="the silicon set of 2018")
    run.add_argument("--every", type=int, default=3, help="labels made wrong; 0: none")
    report.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    for command in (run, report):
        command.add_argument("--results", type=Path, default=RESULTS, help="file of the lines")
    return parser


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
