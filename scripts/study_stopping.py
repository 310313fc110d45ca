"""When to stop: the rule of campaigns on kept runs of the proof, beside the best stopping points.

    python scripts/study_stopping.py run --system silicon,alloy,adatom,butane
    python scripts/study_stopping.py report         # writes tables into docs/stopping.md

Each kept run (benchmarks/results/nshot_picks) is fitted again after every five of its labels, and
is one line of benchmarks/results/stopping.jsonl; runs that are there are skipped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "stopping.jsonl"
PROOF = ROOT / "benchmarks" / "results" / "nshot_runs.jsonl"
PICKS = ROOT / "benchmarks" / "results" / "nshot_picks"
ARMS = "default,nobias,stale,one_shot,joint_candidates"
CACHE = ROOT / "benchmarks" / "cache" / "nshot"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    return {"run": run, "report": report}[options.command](options)


def run(options: argparse.Namespace) -> int:
    """Do the runs that are not there yet."""
    from nshot.runs import append_record, read_records
    from nshot.systems_more import SYSTEMS
    from stopping.points import kept, key, run_records

    from ase_bayesel.resources.threads import cpu_threads

    known = {key(record) for record in read_records(options.results)}
    with cpu_threads(1):
        for name in options.system.split(","):
            system = SYSTEMS[name](options.cache)
            seeds = [int(seed) for seed in options.seeds.split(",")]
            paths = kept(system.name, options.start, options.arms.split(","), seeds, options.picks)
            for record in run_records(system, paths, known):
                append_record(options.results, record)
                print(*key(record), flush=True)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the tables."""
    from nshot.runs import read_records
    from stopping.report import write_report

    proof = [r for r in read_records(options.proof) if r["arm"] == "floor"]
    floors = {
        r["system"]: r["rounds"][-1]["errors"]["all"][1] for r in proof if r["start"] == "poor"
    }
    write_report(read_records(options.results), floors, options.page)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=Path, default=RESULTS, help="file of finished runs")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", parents=[common], help="fit kept picks again")
    running.add_argument("--system", default="silicon", help="names with commas")
    running.add_argument("--start", default="poor", help="poor or fair")
    running.add_argument("--arms", default=ARMS, help="names with commas")
    running.add_argument("--seeds", default="0,1,2", help="numbers with commas")
    running.add_argument("--picks", type=Path, default=PICKS, help="folder of kept picks")
    running.add_argument("--cache", type=Path, default=CACHE, help="folder for test sets")
    reporting = commands.add_parser("report", parents=[common], help="write docs/stopping.md")
    reporting.add_argument("--proof", type=Path, default=PROOF, help="runs of the proof")
    reporting.add_argument("--page", type=Path, default=ROOT / "docs" / "stopping.md")
    return parser


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
