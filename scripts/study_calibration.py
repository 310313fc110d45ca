"""Do uncertainties mean what they say? Ways to calibrate them, on kinds of structures never seen.

    python scripts/study_calibration.py run --materials silicon,alloy --seeds 0,1,2,3,4,5
    python scripts/study_calibration.py curves       # errors along stretched and compressed bonds
    python scripts/study_calibration.py supports --materials alloy --seeds 0   # other supports
    python scripts/study_calibration.py report       # writes tables into docs/calibration.md

Each finished split (a material, a seed, a degree) is one line of
benchmarks/results/calibration.jsonl (of calibration_supports.jsonl for the third command); splits
that are there are skipped. The real silicon set (materials si2018 and si2018-surfaces) is read
from the folder that ASE_BAYESEL_SI2018 names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calibration.fit import Fit

ROOT = Path(__file__).resolve().parent.parent
CURVES = ROOT / "benchmarks" / "results" / "calibration_curves.jsonl"
SUPPORTS = ROOT / "benchmarks" / "results" / "calibration_supports.jsonl"
RESULTS = ROOT / "benchmarks" / "results" / "calibration.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    commands = {"run": run, "curves": curves, "supports": supports, "report": report}
    return commands[options.command](options)


def run(options: argparse.Namespace) -> int:
    """Do the splits that are not there yet, with all methods."""
    _splits(options, options.results, all_methods)
    return 0


def supports(options: argparse.Namespace) -> int:
    """Do the splits that are not there yet, with other forms of the support; first its curves."""
    from calibration.supports import along_curves

    from ase_bayesel.resources.threads import cpu_threads

    if not read(options.supports):
        with cpu_threads(1):
            lines = [json.dumps(record) + "\n" for record in along_curves()]
        options.supports.write_text("".join(lines))
    _splits(options, options.supports, other_supports)
    return 0


def _splits(
    options: argparse.Namespace, path: Path, score: Callable[[Fit], dict[str, object]]
) -> None:
    from calibration.materials_more import MATERIALS

    known = {(r["material"], r["seed"], r["degree"]) for r in read(path) if "material" in r}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in map(int, options.seeds.split(",")):
        for name in options.materials.split(","):
            for degree in MATERIALS[name].degrees:
                if (name, seed, degree) in known:
                    continue
                start = time.process_time()
                record = split(name, seed, degree, score)
                record["seconds"] = round(time.process_time() - start, 1)
                with path.open("a") as handle:
                    handle.write(json.dumps(record) + "\n")
                print(f"{name} {seed} {degree}: {record['seconds']} s", flush=True)


def split(
    name: str, seed: int, degree: int, score: Callable[[Fit], dict[str, object]]
) -> dict[str, object]:
    """One fit, and its scores."""
    import numpy as np
    from calibration.materials_more import MATERIALS

    from ase_bayesel.resources.threads import cpu_threads

    material = MATERIALS[name]()
    with cpu_threads(1):
        train, kinds = material.frames(np.random.default_rng((seed, len(name))))
        train = material.labelled(train)
        kinds = {kind: material.labelled(frames) for kind, frames in kinds.items()}
        found = score(material.fit(train, kinds, degree, seed))
    return {"material": name, "seed": seed, "degree": degree, "n_train": len(train), **found}


def all_methods(fit: Fit) -> dict[str, object]:
    """Scores of a fit by method, kind and property."""
    from calibration.methods import METHODS, NETWORK_METHODS

    from ase_bayesel.validation.reliability import reliability

    scores: dict[str, dict[str, dict[str, object]]] = {}
    methods = METHODS if fit.potential is None else NETWORK_METHODS
    for method, found_by in methods.items():
        rows, scales = found_by(fit)
        for kind, own in rows.items():
            for prop, held in own.items():
                found = reliability(held, scales[prop])
                if found is not None:
                    entry = {"scale": scales[prop].value, **asdict(found)}
                    scores.setdefault(method, {}).setdefault(kind, {})[prop] = entry
    return {"scores": scores}


def other_supports(fit: Fit) -> dict[str, object]:
    """Rms z of energies by kind, scale and form of the support."""
    from calibration.methods import clusters
    from calibration.supports import support_record

    return {"z": support_record(fit, clusters(fit)[1]["energy"])}


def curves(options: argparse.Namespace) -> int:
    """Do all curves anew; half a minute."""
    from calibration.curves import curve_records

    from ase_bayesel.resources.threads import cpu_threads

    with cpu_threads(1):
        lines = [json.dumps(record) + "\n" for record in curve_records()]
    options.curves.write_text("".join(lines))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the tables."""
    from calibration.report import write_report

    records = read(options.results), read(options.curves), read(options.supports)
    write_report(*records, options.page)
    return 0


def read(path: Path) -> list[dict[str, object]]:
    """The finished splits."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results", type=Path, default=RESULTS, help="file of finished splits")
    common.add_argument("--supports", type=Path, default=SUPPORTS, help="file of other supports")
    common.add_argument("--curves", type=Path, default=CURVES, help="file of curves")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("run", "do splits"), ("supports", "do splits with other supports")):
        running = commands.add_parser(name, parents=[common], help=told)
        running.add_argument("--materials", default="silicon,alloy", help="names with commas")
        running.add_argument("--seeds", default="0", help="numbers with commas")
    commands.add_parser("curves", parents=[common], help="do the curves")
    reporting = commands.add_parser("report", parents=[common], help="write docs/calibration.md")
    reporting.add_argument("--page", type=Path, default=ROOT / "docs" / "calibration.md")
    return parser


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.exit(main())
