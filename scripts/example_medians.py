"""Errors of an example over seeds: one campaign says little about a method.

    python scripts/example_medians.py examples/silicon/config.yaml --seeds 1,2,3,4,5 --labels 20

Prints the test errors of each round and the medians over the seeds at equal numbers of labels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.resources.threads import cpu_threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaigns; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="of the example")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="numbers with commas")
    parser.add_argument("--labels", type=int, default=20, help="where each campaign ends")
    options = parser.parse_args(arguments)
    runs = {}
    for seed in map(int, options.seeds.split(",")):
        runs[seed] = errors(options.config, seed, options.labels)
        shown = ", ".join(f"{n}: {1e3 * e:.1f}/{1e3 * f:.0f}" for n, e, f in runs[seed])
        print(f"seed {seed}: {shown}", flush=True)
    for labels in sorted({n for rounds in runs.values() for n, _, _ in rounds}):
        last = [[r for r in rounds if r[0] <= labels][-1] for rounds in runs.values()]
        energy, forces = np.median([r[1:] for r in last], axis=0)
        print(f"median at {labels} labels: {1e3 * energy:.1f} meV/atom, {1e3 * forces:.0f} meV/A")
    return 0


def errors(config: Path, seed: int, labels: int) -> list[tuple[int, float, float]]:
    """Labels, energy error (eV/atom) and force error (eV/A) after each round of a campaign."""
    settings = yaml.safe_load(config.read_text())
    settings |= {"seed": seed, "stop": {"max_labels": labels, "max_rounds": labels}}
    validated = validate_config(settings, str(config), config.resolve().parent)
    with tempfile.TemporaryDirectory() as scratch, cpu_threads(validated.threads):
        reports = [e for e in Campaign(validated, scratch).run() if isinstance(e, RoundReport)]
    return [(r.n_labels, r.energy_rmse or np.nan, r.forces_rmse or np.nan) for r in reports]


if __name__ == "__main__":
    sys.exit(main())
