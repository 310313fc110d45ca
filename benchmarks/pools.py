"""Whole pools: reading their files, picks by labels of many rows, and picks from stored features.

    python benchmarks/pools.py [--checkout DIR] [--output FILE]

* Reading and checking extended XYZ with labels, in cells of 8 and of 64 atoms; with ``--checkout``
  (a folder that holds another version of the package) that reads the same files in turns.
* 10 picks by i_optimal, c_optimal and information_gain from labels of 199 rows at D = 211, as those
  of energy, forces and virial of 64 atoms: with the bounds of `label_grams`, and as all rows say.
  Scores must be the same to the last bit. What a pool of 10,000 takes is extrapolated from the
  seconds per structure, and from those that linear ACE takes for the rows.
* `select` by the variance of the energy from a file whose features are stored, in two sizes of
  8-atom cells at D = 211: the time per structure must stay, and memory is extrapolated to 10^6.

CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from _timing import machine_line, markdown_table, use_one_thread

WIDTH, N_ROWS, N_PICKS, DECADES = 211, 199, 10, 5.0
POOL, WHOLE_POOL = 10_000, 1_000_000
READ = """
import sys, time
from ase_bayesel.structures import read_frames
read_frames(sys.argv[1])
start = time.process_time()
n_frames = len(read_frames(sys.argv[1]))
print((time.process_time() - start) / n_frames)
"""
PICK = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[3])
from pools import stored_selection
seconds = stored_selection(sys.argv[1], sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([seconds, peak]))
"""


def write_pool(path: Path, n: int, repeats: int) -> None:
    """Rattled silicon with energies, forces and stresses of no meaning."""
    import numpy as np
    from ase.build import bulk

    rng = np.random.default_rng(0)
    cell = bulk("Si", cubic=True).repeat(repeats)
    lattice, pbc = " ".join(map(str, cell.cell.array.ravel())), '"T T T"'
    row = "Si " + " ".join(["%.8f"] * 6) + "\n"
    with open(path, "w") as handle:
        for _ in range(n):
            positions = cell.positions + rng.normal(scale=0.1, size=(len(cell), 3))
            values = np.hstack([positions, rng.normal(size=positions.shape)])
            stress = rng.normal(size=6)[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
            handle.write(
                f'{len(cell)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 '
                f'energy={rng.normal()} stress="{" ".join(map(str, stress))}" pbc={pbc}\n'
            )
            handle.write(row * len(cell) % tuple(values.ravel()))


def elsewhere(code: str, checkout: Path, *arguments: object) -> str:
    """What a script prints in a new process that has the package of a checkout."""
    told = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=checkout,  # the first place that is searched for the package
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


def reading(folder: Path, here: Path, other: Path | None, rounds: int) -> list[list[object]]:
    """For each size of cells microseconds per frame, and those of another checkout."""
    table: list[list[object]] = []
    for repeats, n in ((1, 2000), (2, 1000)):
        path = folder / f"frames{repeats}.extxyz"
        write_pool(path, n, repeats)
        turns: dict[Path, list[float]] = {here: []} if other is None else {other: [], here: []}
        for _ in range(rounds):
            for checkout, seconds in turns.items():
                seconds.append(float(elsewhere(READ, checkout, path)))
        medians = {checkout: statistics.median(seconds) for checkout, seconds in turns.items()}
        ours = medians[here]
        row: list[object] = [8 * repeats**3, 1e6 * ours]
        row += ["", ""] if other is None else [1e6 * medians[other], medians[other] / ours]
        table.append(row)
    return table


def by_labels(n_pool: int) -> list[list[object]]:
    """For each method seconds with bounds and without, their ratio, and whether picks agree."""
    import numpy as np

    from ase_bayesel.selection.methods import greedy, scores
    from ase_bayesel.selection.methods.label_grams import GainBound, LabelGrams, TargetBound
    from ase_bayesel.surrogate.posterior import Posterior

    rng = np.random.default_rng(3)
    scale = np.logspace(0.0, -DECADES, WIDTH) / 1e-2
    labels = [
        rng.normal(size=(N_ROWS, WIDTH)) * scale * rng.lognormal(sigma=0.3) for _ in range(n_pool)
    ]
    targets = rng.normal(size=(n_pool, WIDTH)) * scale
    posterior = Posterior.isotropic(WIDTH, 1.0).condition(rng.normal(size=(200, WIDTH)) * scale)
    gain = scores.information_gain(labels.__getitem__)
    aims: dict[str, Any] = {"i_optimal": targets, "c_optimal": targets[:1] - targets[1:2]}
    table: list[list[object]] = []
    for method in (*aims, "information_gain"):
        aim = aims.get(method)
        score = gain if aim is None else scores.target_reduction(labels.__getitem__, aim)

        def picked(bound: Any, aim: Any = aim, score: Any = score) -> tuple[float, Any]:
            start = time.process_time()
            found = greedy(
                *(n_pool, N_PICKS, posterior, score, labels.__getitem__),
                shrinking=aim is None,
                bound=bound(),
            )
            return time.process_time() - start, found

        def bounded(aim: Any = aim) -> Any:
            grams = LabelGrams(labels.__getitem__, posterior, 2 << 30)
            return GainBound(grams) if aim is None else TargetBound(grams, aim)

        ways: dict[str, Callable[[], Any]] = {"plain": lambda: None, "bounds": bounded}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        found = {}
        for _ in range(2):
            for name, bound in ways.items():
                taken, found[name] = picked(bound)
                seconds[name].append(taken)
        plain, ours = (statistics.median(seconds[name]) for name in ways)
        same = np.array_equal(found["plain"].indices, found["bounds"].indices)
        same = same and np.array_equal(found["plain"].scores, found["bounds"].scores)
        per = ours / n_pool
        table.append([method, plain, ours, plain / ours, "yes" if same else "NO", per * POOL])
    return table


def row_seconds(n: int = 12) -> float:
    """CPU seconds for the rows of 64 atoms of silicon, D = 211."""
    from ase.build import bulk

    from ase_bayesel import ACEDescriptor

    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=12, cutoff=5.0)
    assert descriptor.n_features == WIDTH
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=0)
    descriptor.compute([atoms], derivatives=True)
    start = time.process_time()
    for _ in range(n):
        descriptor.compute([atoms], derivatives=True)
    return (time.process_time() - start) / n


class Stored:
    """A descriptor whose features are random numbers."""

    n_features = WIDTH
    elements = ("Si",)
    compute_count = 0

    def spec(self) -> dict[str, object]:
        return {"kind": "random"}

    def compute(self, frames: Sequence[Any], derivatives: bool = False) -> list[Any]:
        import numpy as np

        rng = np.random.default_rng(self.compute_count)
        self.compute_count += len(frames)
        scale = np.logspace(0.0, -DECADES, WIDTH)
        return [SimpleNamespace(total=rng.normal(size=WIDTH) * scale) for _ in frames]


def stored_selection(path: str, store: str) -> float:
    """CPU seconds of `select` from a file; the first call fills the store."""
    from ase_bayesel import select
    from ase_bayesel.selection.feature_store import FeatureStore
    from ase_bayesel.surrogate.design import Noise
    from ase_bayesel.surrogate.posterior import Posterior
    from ase_bayesel.surrogate.surrogate import Surrogate

    descriptor: Any = Stored()
    core = Surrogate(descriptor, Posterior.isotropic(WIDTH, 1.0), {"Si": 0.0}, Noise(), ("energy",))
    start = time.process_time()
    select(path, N_PICKS, core=core, store=FeatureStore(store, descriptor))
    return time.process_time() - start


def stored_pools(folder: Path, here: Path, sizes: Sequence[int]) -> list[list[object]]:
    """Structures, CPU seconds, microseconds per structure and peak memory in GB."""
    import json

    table: list[list[object]] = []
    for n in sizes:
        path, store = folder / f"pool{n}.extxyz", folder / f"store{n}"
        write_pool(path, n, 1)
        stored_selection(str(path), str(store))
        told = elsewhere(PICK, here, path, store, here / "benchmarks")
        seconds, peak = json.loads(told)
        table.append([f"{n:,}", seconds, 1e6 * seconds / n, peak])
    return table


def report(
    frames: list[list[object]], labels: list[list[object]], rows: float, stored: list[list[Any]]
) -> str:
    """The results as markdown."""
    (_, few_s, _, few_gb), (_, many_s, _, many_gb) = stored[0], stored[-1]
    n_few, n_many = (int(row[0].replace(",", "")) for row in (stored[0], stored[-1]))
    whole_s = many_s + (many_s - few_s) / (n_many - n_few) * (WHOLE_POOL - n_many)
    whole_gb = many_gb + (many_gb - few_gb) / (n_many - n_few) * (WHOLE_POOL - n_many)
    return (
        "\n\n".join(
            [
                "# Whole pools, one core, CPU seconds",
                machine_line(),
                "Reading and checking extended XYZ with energies, forces and stresses:",
                markdown_table(
                    ["atoms", "us per frame", "other checkout, us per frame", "ratio"], frames
                ),
                f"{N_PICKS} picks by labels of {N_ROWS} rows, D = {WIDTH}:",
                markdown_table(
                    [
                        "method",
                        "all rows, s",
                        "with bounds, s",
                        "ratio",
                        "same picks and scores",
                        f"bounds, {POOL:,} structures, s",
                    ],
                    labels,
                ),
                f"The last column is extrapolated. To it comes the making of rows by linear ACE, "
                f"{1e3 * rows:.1f} ms a structure of 64 atoms, {rows * POOL:.0f} s for {POOL:,}. "
                "Target: 600 s on two cores.",
                "`select` by the variance of the energy, a file of 8-atom cells, features stored:",
                markdown_table(["structures", "s", "us per structure", "peak memory, GB"], stored),
                f"At this rate {WHOLE_POOL:,} take {whole_s:.0f} s and {whole_gb:.1f} GB. "
                "Targets: 900 s and 8 GB.",
            ]
        )
        + "\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, help="another version of the package")
    parser.add_argument("--rounds", type=int, default=3, help="turns of reading")
    parser.add_argument("--labels", type=int, default=60, help="pool of labels of many rows")
    parser.add_argument("--sizes", type=int, nargs=2, default=[5_000, 20_000])
    parser.add_argument("--output", type=Path, help="write the report (markdown) here")
    options = parser.parse_args(arguments)
    use_one_thread()
    here = Path(__file__).resolve().parents[1]
    with TemporaryDirectory() as name:
        folder = Path(name)
        frames = reading(
            folder, here, options.checkout and options.checkout.resolve(), options.rounds
        )
        labels, rows = by_labels(options.labels), row_seconds()
        text = report(frames, labels, rows, stored_pools(folder, here, sorted(options.sizes)))
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text)
    return 0 if all(row[4] == "yes" for row in labels) else 1


if __name__ == "__main__":
    sys.exit(main())
