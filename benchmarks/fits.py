"""Fits of a growing training set: what is kept between them, against assembling all again.

    OMP_NUM_THREADS=1 python benchmarks/fits.py [--output FILE]

CPU time of one thread, ways in turns (ABAB), medians and ratios of one run. Rattled silicon with
random labels in linear ACE (order 3, T = 12, D = 211, cutoff 5 A): 64 atoms in each structure.

* append: a fit of the structures and ten more, with rows of the others on disk, against the same
  fit that keeps nothing, and against a fit of the ten alone;
* weights: a fit under other weights, which changes all factors but no rows;
* cell of 8: as append, in cells of 8 atoms;
* round: fit, and training structures left out in turn, on features of an untrained MACE model
  with 16 projections of the forces, with and without a store that is empty at its beginning
  (needs mace-torch);
* evidence: its maximum for one common noise, from singular values, against a QR factor and its
  inverse in each step.

Coefficients of both ways are compared to the last bit; those of the evidence as relative changes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from _timing import machine_line, markdown_table, use_one_thread

N_NEW = 10


def rattled(n: int, cells: tuple[int, int, int], seed: int) -> list[Any]:
    """Silicon with random labels."""
    import numpy as np
    from ase.build import bulk

    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("Si", cubic=True) * cells
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        atoms.info["energy"] = -5.0 * len(atoms) + float(rng.normal())
        atoms.arrays["forces"] = rng.normal(0.0, 0.5, atoms.positions.shape)
        frames.append(atoms)
    return frames


def in_turns(
    ways: Mapping[str, Callable[[], object]], repeats: int, between: Callable[[], object]
) -> dict[str, list[float]]:
    """CPU seconds of each way, A B A B ...; ``between`` runs before each and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            between()
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    return seconds


def row(name: str, size: str, seconds: Mapping[str, list[float]], same: str) -> list[object]:
    """Of the table: the first way is the baseline, the second ours, a third the least possible."""
    baseline, ours, *least = (statistics.median(times) for times in seconds.values())
    paired = zip(*list(seconds.values())[:2], strict=True)
    ratio = statistics.median(after / before for before, after in paired)
    return [name, size, baseline, ours, ratio, ours / least[0] if least else "", same]


def append(
    name: str, n: int, cells: tuple[int, int, int], repeats: int, folder: Path
) -> list[list[object]]:
    """Rows of the table for ten more structures, and for other weights."""
    import numpy as np

    from ase_bayesel import ACEDescriptor, Weights, fit_surrogate
    from ase_bayesel.surrogate.row_store import RowStore

    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=12, cutoff=5.0)
    frames = rattled(n + N_NEW, cells, seed=1)
    store, fits = RowStore(folder / name), dict[str, Any]()

    def fit(way: str, chosen: list[Any], store: RowStore | None = None, **options: Any) -> None:
        fits[way] = fit_surrogate(chosen, descriptor, e0s={"Si": -4.5}, store=store, **options)

    def forget() -> None:
        for path in set((folder / name).iterdir()) - known:
            path.unlink()

    def same(one: str, other: str) -> str:
        mean, factor = (
            (fits[way].posterior.mean, fits[way].posterior.precision_factor) for way in (one, other)
        )
        return "same bits" if all(map(np.array_equal, mean, factor)) else "NOT THE SAME"

    fit("before", frames[:n], store)
    known = set((folder / name).iterdir())
    size = sum(path.stat().st_size for path in known) / 1e6
    ways: dict[str, Callable[[], object]] = {
        "all again": lambda: fit("all again", frames),
        "kept": lambda: fit("kept", frames, store),
        "the new ones": lambda: fit("the new ones", frames[n:]),
    }
    seconds = in_turns(ways, repeats, forget)
    told = f"{n:,} + {N_NEW} structures of {len(frames[0])} atoms, {size:,.0f} MB kept"
    rows = [row(name, told, seconds, same("all again", "kept"))]
    fit("kept", frames, store)
    known = set((folder / name).iterdir())
    other = Weights(energy=10.0, high_energy=1.0)
    ways = {
        "all again": lambda: fit("all again", frames, weights=other),
        "kept": lambda: fit("kept", frames, store, weights=other),
    }
    seconds = in_turns(ways, max(1, repeats - 1), forget)
    rows.append(row(f"{name}, weights", told, seconds, same("all again", "kept")))
    return rows


def network_round(n: int, repeats: int, folder: Path) -> list[object]:
    """The row of the table for a fit on a network's features and what is left out of it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import numpy as np
    from helpers.mace_models import mace_calculator, save_model, tiny_mace

    from ase_bayesel import MACEDescriptor
    from ase_bayesel.structures.labels import PropertyKeys
    from ase_bayesel.surrogate.calibration import calibrating
    from ase_bayesel.surrogate.fitting import fitting
    from ase_bayesel.surrogate.row_store import RowStore
    from ase_bayesel.surrogate.steps import finished
    from ase_bayesel.surrogate.training_rows import TrainingRows

    model, keys = tiny_mace(["Si"], irreps="32x0e+32x1o", cutoff=5.0), PropertyKeys()
    save_model(model, folder / "mace.model")
    descriptor = MACEDescriptor(mace_calculator(model), model_file=folder / "mace.model")
    frames, fits = rattled(n, (2, 2, 1), seed=2), dict[str, Any]()

    def whole(way: str, store: RowStore | None) -> None:
        steps = fitting(frames, descriptor, keys, {"Si": -4.5}, force_projections=16, store=store)
        fitted = finished(steps)
        rows = TrainingRows(frames, descriptor, 16, store=store)
        fits[way] = finished(calibrating(fitted, frames, keys, 16, chosen=rows.chosen))

    ways: dict[str, Callable[[], object]] = {
        "all again": lambda: whole("all again", None),
        "kept": lambda: whole("kept", RowStore(folder / "round")),
    }
    seconds = in_turns(ways, repeats, lambda: shutil.rmtree(folder / "round", ignore_errors=True))
    means = [fit.posterior.mean for fit in fits.values()]
    told = "same bits" if np.array_equal(*means) else "NOT THE SAME"
    size = f"{n} structures of 32 atoms, D = {descriptor.n_features}"
    return row("round of MACE features", size, seconds, told)


def evidence(width: int, repeats: int) -> list[object]:
    """The row of the table for the evidence of one noise."""
    import numpy as np

    from ase_bayesel.surrogate import evidence as module
    from ase_bayesel.surrogate.triangular import append_rows

    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4 * width, width)) * np.logspace(1.5, -3.5, width)
    targets = rows @ rng.normal(size=width) + 0.1 * rng.normal(size=len(rows))
    start = np.zeros((width + 1, width + 1))
    triangle = append_rows(start, np.column_stack([rows, targets]))
    problem = {"all": triangle}, {"all": len(rows)}, {"all": 0.1}, {"all": (1e-4, 1e2)}
    ours, found = module._Spread, dict[str, Any]()

    class ByFactors:
        """The plain way behind the same objective."""

        @classmethod
        def of(cls, triangle: Any) -> ByFactors:
            return cls()

        def parts(self, noise: float, prior_std: float) -> Any:
            return module._parts({"all": triangle}, {"all": noise}, prior_std)

    def maximise(way: str, kind: Any) -> None:
        module._Spread = kind
        found[way] = module.maximise_evidence(*problem)
        module._Spread = ours

    ways: dict[str, Callable[[], object]] = {
        "factors": lambda: maximise("factors", ByFactors),
        "singular values": lambda: maximise("singular values", ours),
    }
    seconds = in_turns(ways, repeats, lambda: None)
    one, other = found.values()
    apart = max(
        abs(other.prior_std / one.prior_std - 1), abs(other.noise["all"] / one.noise["all"] - 1)
    )
    return row("evidence", f"D = {width}", seconds, f"{apart:.0e}")


def main() -> None:
    """Print the tables, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=1000, help="structures of 64 atoms")
    parser.add_argument("--small", type=int, default=1000, help="structures of 8 atoms")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    use_one_thread()
    repeats = arguments.repeats
    header = ["what", "size", "all again, s", "ours, s", "ratio", "ours / the new alone", "apart"]
    table: list[list[object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs: list[Callable[[], list[list[object]]]] = [
            lambda: append("append", arguments.large, (2, 2, 2), repeats, folder),
            lambda: append("append, cell of 8", arguments.small, (1, 1, 1), repeats, folder),
            lambda: [evidence(width, 5) for width in (211, 668)],
            lambda: [network_round(10, repeats, folder)],
        ]
        for job in jobs:
            table += (rows := job())
            print(markdown_table(header, rows), file=sys.stderr, flush=True)
    text = f"# Fits of a growing training set, one core\n\n{machine_line()}\n\n"
    text += markdown_table(header, table) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
