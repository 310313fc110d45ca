"""Errors of an example over seeds: one campaign says little about a method.

    python scripts/example_medians.py examples/silicon/config.yaml --seeds 1,2,3,4,5 --labels 20
    git worktree add ../before 40e0e20
    python scripts/example_medians.py ../before/examples/silicon/config.yaml --code ../before

Prints the test errors of each round and the medians over the seeds at equal numbers of labels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

RUN = "from ase_bayesel.cli import app; app()"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="of the example")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="numbers with commas")
    parser.add_argument("--labels", type=int, default=20, help="where each campaign ends")
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--code", type=Path, default=root, help="checkout whose package runs")
    options = parser.parse_args(arguments)
    runs = {}
    for seed in map(int, options.seeds.split(",")):
        runs[seed] = errors(options.config, seed, options.labels, options.code.resolve())
        shown = ", ".join(f"{n}: {1e3 * e:.1f}/{1e3 * f:.0f}" for n, e, f in runs[seed])
        print(f"seed {seed}: {shown}", flush=True)
    for labels in sorted({n for rounds in runs.values() for n, _, _ in rounds}):
        last = [[r for r in rounds if r[0] <= labels][-1] for rounds in runs.values()]
        energy, forces = np.median([r[1:] for r in last], axis=0)
        print(f"median at {labels} labels: {1e3 * energy:.1f} meV/atom, {1e3 * forces:.0f} meV/A")
    return 0


def errors(config: Path, seed: int, labels: int, code: Path) -> list[tuple[int, float, float]]:
    """Labels, energy error (eV/atom) and force error (eV/A) after each round of a campaign."""
    settings = yaml.safe_load(config.read_text())
    settings |= {"seed": seed, "stop": {"max_labels": labels, "max_rounds": labels}}
    environment = {**os.environ, "PYTHONPATH": str(code)}
    with tempfile.TemporaryDirectory(dir=config.parent, prefix="medians_") as scratch:
        own = Path(scratch).with_suffix(".yaml")  # relative paths start at the config's folder
        try:
            own.write_text(yaml.safe_dump(settings))
            command = [
                sys.executable,
                "-P",
                "-c",
                RUN,
                "run",
                str(own),
                "--dir",
                f"{scratch}/campaign",
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
        finally:
            own.unlink()
        reports = [
            json.loads(p.read_text()) for p in sorted(Path(scratch).glob("campaign/*/report.json"))
        ]
    if done.returncode or not reports:
        raise SystemExit(f"{config}, seed {seed}: {done.stdout}{done.stderr}")
    return [(r["n_labels"], _number(r["energy_rmse"]), _number(r["forces_rmse"])) for r in reports]


def _number(error: float | None) -> float:
    return np.nan if error is None else error


if __name__ == "__main__":
    sys.exit(main())
