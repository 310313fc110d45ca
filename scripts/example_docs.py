"""Run the silicon example and write docs/silicon.md from it, or check a finished run.

python scripts/example_docs.py                        # runs it, writes docs/silicon.md
python scripts/example_docs.py --check DIRECTORY      # exit status 1 if nothing was learned
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from ase_bayesel import Campaign, load_config, plots
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.store import Store
from ase_bayesel.resources.threads import cpu_threads

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples/silicon/config.yaml"
DOCS = ROOT / "docs"
REQUIRED_GAIN = 2.0

INTRODUCTION = """# The silicon example

`scripts/example_docs.py` ran `examples/silicon/config.yaml` and wrote this page. The reference is
GFN1-xTB at the Gamma point in a 16-atom cell: a smooth quantum-mechanical surface that is quick
to evaluate, not bulk silicon. The test set (hot and strongly rattled cells) is
never trained on. Round 0 is the model fitted to the six structures that the example starts from.
"""


def improvement(reports: Sequence[RoundReport]) -> tuple[float, float]:
    """First over last test error of energies and forces."""
    energies = [r.energy_rmse for r in reports if r.energy_rmse is not None]
    forces = [r.forces_rmse for r in reports if r.forces_rmse is not None]
    return energies[0] / energies[-1], forces[0] / forces[-1]


def table(reports: Sequence[RoundReport]) -> str:
    """Rounds as a markdown table."""
    lines = [
        "| round | training structures | labels | energy RMSE (meV/atom) | force RMSE (meV/A) |",
        "|---|---|---|---|---|",
    ]
    for r in reports:
        assert r.energy_rmse is not None
        assert r.forces_rmse is not None
        errors = f"{1e3 * r.energy_rmse:.1f} | {1e3 * r.forces_rmse:.0f}"
        lines.append(f"| {r.round_number} | {r.n_train} | {r.n_labels} | {errors} |")
    return "\n".join(lines)


def write_page(store: Store, reports: Sequence[RoundReport]) -> None:
    """Write docs/silicon.md and its pictures."""
    history = plots.History(store)
    rows = {
        "silicon_uncertainty.png": [
            partial(plots.criterion, history, r.round_number) for r in reports[1:]
        ],
        "silicon_errors.png": [
            partial(plots.error_against_labels, history, p) for p in ("energy", "forces")
        ],
        "silicon_parity.png": [partial(plots.parity, history, p) for p in ("energy", "forces")],
        "silicon_calibration.png": [
            partial(draw, history) for draw in (plots.reliability_curve, plots.z_histogram)
        ]
        + [partial(plots.error_against_deviation, history, p) for p in ("energy", "forces")],
    }
    parts = [INTRODUCTION, table(reports)]
    for name, drawings in rows.items():
        figure = Figure(figsize=(3.2 * len(drawings), 3.2), layout="constrained")
        for draw, axes in zip(drawings, figure.subplots(1, len(drawings)), strict=True):
            draw(axes=axes)
        figure.savefig(DOCS / name, dpi=110)
        parts.append(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})")
    (DOCS / "silicon.md").write_text("\n\n".join(parts) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", type=Path, metavar="DIRECTORY", help="a finished campaign")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(arguments.check or scratch)
        if arguments.check is None:
            config = load_config(CONFIG)
            with cpu_threads(config.threads):
                for _ in Campaign(config, scratch).run():
                    pass
        reports = [store.read_report(k) for k in range(store.completed_rounds())]
        gains = improvement(reports)
        print(f"test errors fell by factors of {gains[0]:.1f} (energy) and {gains[1]:.1f} (forces)")
        if arguments.check is None:
            write_page(store, reports)
        elif min(gains) < REQUIRED_GAIN:
            sys.exit(f"expected at least a factor of {REQUIRED_GAIN}")


if __name__ == "__main__":
    main()
