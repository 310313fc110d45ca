"""Wrong labels on purpose: how many does screening set aside, and how many right ones?

    python scripts/study_wrong_labels.py --campaigns DIR [DIR ...]   # of bayesel run, right labels
    python scripts/study_wrong_labels.py --stored                    # kept runs of the proof
    python scripts/study_wrong_labels.py --si2018 DIR                # 500 frames in random order

Each label of each batch is judged as it is, and some of them with each fault of
wrong_labels/faults.py in turn. Several options may be given together; --page writes the tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrong_labels.rounds import Round

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    right: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    caught: Counter[tuple[str, str]] = Counter()
    for one in _rounds(options):
        judge(one, options.every, right, alarms, asked, caught)
    text = tables(right, alarms, asked, caught)
    print(text)
    if options.page is not None:
        options.page.write_text(text)
    return 0


def judge(
    one: Round,
    every: int,
    right: Counter[str],
    alarms: Counter[str],
    asked: Counter[tuple[str, str]],
    caught: Counter[tuple[str, str]],
) -> None:
    """Count what screening says of a round, with right and with wrong labels.

    Parameters
    ----------
    one
        The round.
    every
        Every so-manieth label is made wrong; 0 for none.
    right, alarms
        Right labels and those of them set aside, by system.
    asked, caught
        Wrong labels and those of them set aside, by fault and system.
    """
    import numpy as np
    from wrong_labels.faults import FAULTS, other_e0s, other_structure

    from ase_bayesel.campaign.screening import screened

    labels = [new.labels for new in one.batch]
    found = screened(one.batch, one.scales, training=one.training)
    right[one.system] += len(found)
    for k, verdict in enumerate(found):
        if verdict.suspicious:
            alarms[one.system] += 1
            print(f"{one.name}, round {one.number}, label {k}: {verdict}", flush=True)
    if not every:
        return
    for k in range(0, len(labels), every):
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
            asked[name, one.system] += 1
            verdicts = screened(batch, one.scales, training=one.training)
            caught[name, one.system] += verdicts[k].suspicious
    shifted = other_e0s(labels, one.frames)
    batch = [replace(new, labels=label) for new, label in zip(one.batch, shifted, strict=True)]
    name = "all with other reference energies"
    asked[name, one.system] += len(batch)
    verdicts = screened(batch, one.scales, training=one.training)
    caught[name, one.system] += sum(verdict.suspicious for verdict in verdicts)


def tables(
    right: Counter[str],
    alarms: Counter[str],
    asked: Counter[tuple[str, str]],
    caught: Counter[tuple[str, str]],
) -> str:
    """What was counted, as Markdown."""
    systems = sorted(right)
    lines = ["| right labels of | number | set aside |", "|---|---|---|"]
    lines += [f"| {system} | {right[system]} | {alarms[system]} |" for system in systems]
    shown = [s for s in systems if any(system == s for _, system in asked)]
    lines += ["", f"| wrong label | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for name in dict.fromkeys(name for name, _ in asked):
        cells = [f"{caught[name, s]} of {asked[name, s]}" if asked[name, s] else "-" for s in shown]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rounds(options: argparse.Namespace) -> Iterator[Round]:
    from wrong_labels.rounds import STORED, campaign_rounds, silicon_rounds, stored_rounds

    for directory in options.campaigns:
        yield from campaign_rounds(directory, directory.resolve().parent.name)
    if options.stored:
        with tempfile.TemporaryDirectory() as cache:
            for path in sorted(STORED.glob("*.npz")):
                yield from stored_rounds(path.stem, Path(cache))
    if options.si2018 is not None:
        yield from silicon_rounds(options.si2018)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--campaigns", nargs="+", type=Path, default=[], help="their directories")
    parser.add_argument("--stored", action="store_true", help="kept runs of the proof")
    parser.add_argument("--si2018", type=Path, default=None, help="the silicon set of 2018")
    parser.add_argument("--every", type=int, default=3, help="labels made wrong; 0: none")
    parser.add_argument("--page", type=Path, default=None, help="file for the tables")
    return parser


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
