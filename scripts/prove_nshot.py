"""Does N-shot pay? Arms on systems with cheap teachers, judged beside the model's floor.

    python scripts/prove_nshot.py run --system silicon --start poor --arms telling --seeds 0,1,2
    python scripts/prove_nshot.py refit --system silicon    # kept picks, fitted in other ways
    python scripts/prove_nshot.py report             # writes tables and figures into docs/nshot.md
    python scripts/prove_nshot.py arms               # lists them
    python scripts/prove_nshot.py --quick            # four minutes; exit status 1 if N-shot loses

Each finished run is one line of benchmarks/results/nshot_runs.jsonl; runs that are there with the
same settings are skipped, so a killed series is started again with the same command.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "nshot_runs.jsonl"
REFITS = ROOT / "benchmarks" / "results" / "nshot_refits.jsonl"
PICKS = ROOT / "benchmarks" / "results" / "nshot_picks"
CACHE = ROOT / "benchmarks" / "cache" / "nshot"
SI2018 = "ASE_BAYESEL_SI2018"
QUICK_SEEDS, QUICK_LABELS = range(5), 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.quick:
        return quick(options)
    if options.command is None:
        parser.error("give a command: run, refit, report or arms; or --quick")
    commands = {"run": run, "refit": refit, "report": report, "arms": arms}
    return commands[options.command](options)


def run(options: argparse.Namespace) -> int:
    """Do the runs that are not there yet."""
    from nshot.arms import arms_named
    from nshot.runs import Task, run_all
    from nshot.systems import MissingDataError

    tasks = []
    for name in options.system.split(","):
        system = _system(name, options)
        labels = options.labels or system.n_labels
        tasks += [
            Task(system, start, arm, seed, labels, options.policy_ps, options.picks)
            for seed in map(int, options.seeds.split(","))
            for start in options.start.split(",")
            for arm in arms_named(options.arms)
        ]
    try:
        failed = run_all(tasks, options.results, options.processes, _tell)
    except MissingDataError as error:
        print(f"prove_nshot: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


def refit(options: argparse.Namespace) -> int:
    """Fit kept picks in other ways, those that are not there yet."""
    from nshot.arms import arms_named
    from nshot.refits import refit_key, refit_records
    from nshot.runs import append_record, read_records

    known = {refit_key(record) for record in read_records(options.refits)}
    for name in options.system.split(","):
        system, arms = _system(name, options), arms_named(options.arms)
        for record in refit_records(system, options.start, arms, options.picks, known):
            append_record(options.refits, record)
            _tell(" ".join(map(str, [*refit_key(record), record["errors"]["all"]])))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the tables and figures."""
    from nshot.report import write_report
    from nshot.runs import read_records

    refits = read_records(options.refits)
    write_report(read_records(options.results), refits, options.page, options.seeds_of_constants)
    return 0


def arms(options: argparse.Namespace) -> int:
    """List the arms."""
    from nshot.arms import ARMS, FLOOR, TELLING

    print(f"{FLOOR:24} the student fitted to 200 frames of the test's own ensemble")
    for arm in ARMS.values():
        print(f"{arm.name:24} {arm.description}{' (telling)' if arm.name in TELLING else ''}")
    return 0


def quick(options: argparse.Namespace) -> int:
    """One material, five fixed seeds, 20 labels: is the default as good as the others?"""
    from nshot.arms import QUICK
    from nshot.quick import verdict
    from nshot.runs import Task, read_records, run_all

    system = _system("silicon_small", options)
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "quick.jsonl"
        tasks = [
            Task(system, "poor", arm, seed, QUICK_LABELS, 0.0)
            for seed in QUICK_SEEDS
            for arm in QUICK
        ]
        failed = run_all(tasks, results, options.processes, _tell)
        table, losses = verdict(read_records(results), QUICK)
    print(table)
    for loss in losses:
        print(f"prove_nshot: {loss}", file=sys.stderr)
    return 1 if losses or failed else 0


def _system(name: str, options: argparse.Namespace):
    from nshot.systems_more import SYSTEMS

    if name not in SYSTEMS:
        raise SystemExit(f"prove_nshot: no system {name!r}; known: {', '.join(SYSTEMS)}")
    cls = SYSTEMS[name]
    extra = {"data": options.si2018} if name == "silicon_ace" else {}
    return cls(options.cache, **extra)


def _tell(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=Path, default=RESULTS, help="file of finished runs")
    common.add_argument("--cache", type=Path, default=CACHE, help="folder for test sets")
    common.add_argument("--processes", type=int, default=2, help="runs side by side")
    data = os.environ.get(SI2018)
    common.add_argument(
        "--si2018",
        type=Path,
        default=None if data is None else Path(data),
        help=f"folder that scripts/fetch_si2018.py has written (or {SI2018})",
    )
    parser.add_argument(
        "--quick", action="store_true", help="four minutes, exit status 1 on a loss"
    )
    parser.set_defaults(cache=CACHE, processes=2, si2018=None, results=RESULTS)
    commands = parser.add_subparsers(dest="command")
    running = commands.add_parser("run", parents=[common], help="do runs")
    again = commands.add_parser("refit", parents=[common], help="fit kept picks in other ways")
    for command in (running, again):
        command.add_argument("--system", default="silicon", help="names with commas")
        command.add_argument("--arms", default="telling", help="telling, all, or names with commas")
        command.add_argument("--picks", type=Path, default=PICKS, help="folder for kept picks")
    again.add_argument("--start", default="poor", help="poor or fair")
    running.add_argument("--start", default="poor", help="poor, fair or both with a comma")
    running.add_argument("--seeds", default="0", help="numbers with commas")
    running.add_argument("--labels", type=int, help="by default what the system needs")
    running.add_argument("--policy-ps", type=float, default=2.0, help="length of on-policy MD")
    reporting = commands.add_parser("report", parents=[common], help="write docs/nshot.md")
    for command in (again, reporting):
        command.add_argument("--refits", type=Path, default=REFITS, help="file of refits")
    reporting.add_argument("--page", type=Path, default=ROOT / "docs" / "nshot.md")
    reporting.add_argument(
        "--seeds-of-constants",
        default="",
        help="SYSTEM:SEEDS,... on which constants were chosen; kept out of the tables",
    )
    commands.add_parser("arms", parents=[common], help="list the arms")
    return parser


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
