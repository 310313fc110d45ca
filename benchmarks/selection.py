"""Greedy Bayesian selection from large pools: time per 100 picks against plain ways.

    python benchmarks/selection.py [--sizes 10000 100000] [--output FILE]

Rows of D = 668 random features whose spectrum decays by five decades, with lengths that vary
from structure to structure or, harder for a lazy method, are all equal. The core posterior has
the prior and 200 such rows. Compared are, with energy rows and the variance of the energy as
the score,

* `ase_bayesel.selection.energy_variance`, whole runs;
* a BLAS refactorisation per pick: Cholesky factor of the precision, one triangular solve with
  all rows, argmax. It runs for all picks at the smallest size and for a few at the others,
  from which its time is extrapolated; its picks must be the same;
* a loop over structures: LU factors of the precision at each pick and one solve per structure
  in Python, the plain way of writing the method down, timed on some structures of one pick
  and extrapolated.

Times are CPU seconds of one thread, runs of the first taken between picks of the second. The
log determinant with labels of several rows is run lazily and with the whole pool at each pick.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _timing import machine_line, markdown_table, use_one_thread

N_FEATURES, N_PICKS, N_CORE = 668, 100, 200
DECADES = 5.0
NOISE = 1e-3
N_TURNS = 5
N_TIMED_STRUCTURES = 300
TARGET_BLAS, TARGET_LOOP, TARGET_SECONDS, TARGET_GB = 40.0, 500.0, 60.0, 4.0


def synthetic_rows(n: int, rng: Any, sigma: float = 0.5) -> Any:
    """``(n, D)`` rows of a decaying spectrum in a random basis; sigma of their log lengths."""
    import numpy as np

    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(N_FEATURES, N_FEATURES)))[0]
    mixing = (basis * np.logspace(0.0, -DECADES, N_FEATURES)).T
    rows = np.empty((n, N_FEATURES))
    for start in range(0, n, 2048):
        block = rows[start : start + 2048]
        block[:] = rng.normal(size=block.shape) @ mixing
        block *= rng.lognormal(sigma=sigma, size=(len(block), 1))
        if sigma == 0.0:
            block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def refactorising(rows: Any, posterior: Any) -> Iterator[int]:
    """Picks, each from a new Cholesky factor of the precision and a solve with all rows."""
    import numpy as np
    from scipy.linalg import solve_triangular

    precision = posterior.precision_factor.T @ posterior.precision_factor
    waiting = np.ones(len(rows), bool)
    while True:
        factor = np.linalg.cholesky(precision)
        white = solve_triangular(factor, rows.T, lower=True, check_finite=False)
        best = int(np.argmax(np.where(waiting, np.einsum("ij,ij->j", white, white), -np.inf)))
        waiting[best] = False
        precision += np.outer(rows[best], rows[best]) / NOISE**2
        yield best


def loop_seconds(rows: Any, posterior: Any) -> float:
    """CPU seconds of one pick by a Python loop with one LU solve per structure, extrapolated."""
    from scipy.linalg import lu_factor, lu_solve

    start = time.process_time()
    factors = lu_factor(posterior.precision_factor.T @ posterior.precision_factor)
    factorised = time.process_time()
    for row in rows[:N_TIMED_STRUCTURES]:
        float(row @ lu_solve(factors, row))
    per_structure = (time.process_time() - factorised) / N_TIMED_STRUCTURES
    return factorised - start + per_structure * len(rows)


def compare(n_pool: int, n_oracle: int, sigma: float) -> dict[str, Any]:
    """One record: seconds of 100 picks in each way, and whether the picks agree."""
    import numpy as np

    from ase_bayesel.selection.methods import energy_variance
    from ase_bayesel.surrogate.posterior import Posterior

    rng = np.random.default_rng(1)
    core = synthetic_rows(N_CORE, rng)
    posterior = Posterior.isotropic(N_FEATURES, 1.0).condition(core / NOISE)
    rows = synthetic_rows(n_pool, rng, sigma)
    noise = np.full(n_pool, NOISE)
    oracle = refactorising(rows, posterior)
    ours, blas, wall, picks = [], [], [], []
    for turn in range(1, N_TURNS + 1):
        start, start_wall = time.process_time(), time.perf_counter()
        found = energy_variance(rows, N_PICKS, posterior, noise)
        ours.append(time.process_time() - start)
        wall.append(time.perf_counter() - start_wall)
        if turn == 1:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        while len(picks) < n_oracle * turn // N_TURNS:
            start = time.process_time()
            picks.append(next(oracle))
            blas.append(time.process_time() - start)
    assert np.isclose(found.scores[0], posterior.variance(rows[found.indices[0]]))
    return {
        "pool": n_pool,
        "lengths": "equal" if sigma == 0.0 else "log-normal",
        "ours": statistics.median(ours),
        "wall": statistics.median(wall),
        "peak_gb": peak,
        "blas": statistics.mean(blas) * N_PICKS,
        "loop": loop_seconds(rows, posterior) * N_PICKS,
        "checked": len(picks),
        "same": picks == found.indices[: len(picks)].tolist(),
        "fall": float(found.scores[-1] / found.scores[0]),
    }


def compare_lazy(n_pool: int = 300, n_picks: int = 30, width: int = 256) -> dict[str, Any]:
    """Log determinant of labels of 4 to 97 rows: lazily, and the whole pool at each pick."""
    import numpy as np

    from ase_bayesel.selection.methods import greedy, scores
    from ase_bayesel.surrogate.posterior import Posterior

    rng = np.random.default_rng(2)
    scale = np.logspace(0.0, -DECADES, width)
    labels = [
        rng.normal(size=(1 + 3 * int(k), width)) * scale / NOISE
        for k in rng.integers(1, 33, n_pool)
    ]
    posterior = Posterior.isotropic(width, 1.0)
    record: dict[str, Any] = {}
    for name, shrinking in [("lazy", True), ("full", False)]:
        calls = []
        gain = scores.information_gain(labels.__getitem__)

        def counted(now, indices, gain=gain, calls=calls):
            calls.append(len(indices))
            return gain(now, indices)

        start = time.process_time()
        found = greedy(n_pool, n_picks, posterior, counted, labels.__getitem__, shrinking=shrinking)
        record[name] = (time.process_time() - start, sum(calls), found.indices.tolist())
    return record | {"pool": n_pool, "picks": n_picks, "width": width}


def report(records: Sequence[dict[str, Any]], lazy: dict[str, Any]) -> str:
    """The results as markdown."""
    table = markdown_table(
        [
            "pool",
            "lengths",
            "ours, s",
            "BLAS refactorisation, s",
            "ratio",
            "loop over structures, s",
            "ratio",
            "same picks",
            "peak memory, GB",
        ],
        [
            [
                f"{r['pool']:,}",
                r["lengths"],
                r["ours"],
                r["blas"],
                r["blas"] / r["ours"],
                r["loop"],
                r["loop"] / r["ours"],
                f"{'yes' if r['same'] else 'NO'}, {r['checked']} checked",
                r["peak_gb"],
            ]
            for r in records
        ],
    )
    falls = [record["fall"] for record in records]
    largest = max(records, key=lambda r: r["wall"])
    seconds, evaluations, picks = lazy["lazy"]
    full_seconds, full_evaluations, full_picks = lazy["full"]
    same = "the same picks" if picks == full_picks else "OTHER PICKS"
    parts = [
        f"# Greedy selection of {N_PICKS} structures, D = {N_FEATURES}, one core, float64",
        machine_line(),
        table,
        "CPU seconds of one thread. BLAS times are those of all 100 picks where 100 are checked, "
        "else extrapolated from those checked; the loop is extrapolated from "
        f"{N_TIMED_STRUCTURES} structures. The peak is that of the process so far, the pool "
        f"itself included. Targets: {TARGET_BLAS:g} and {TARGET_LOOP:g} times faster at 10,000; "
        f"{TARGET_SECONDS:g} s and {TARGET_GB:g} GB at 100,000 (at most {largest['wall']:.1f} s "
        f"by the clock at {largest['pool']:,}). From the first to the last pick the largest "
        f"variance falls to between {min(falls):.1e} and {max(falls):.1e} of itself.",
        f"Log determinant, {lazy['picks']} picks from {lazy['pool']} labels of 4 to 97 rows, "
        f"D = {lazy['width']}: lazily {seconds:.2f} s and {evaluations} evaluations, with the "
        f"whole pool at each pick {full_seconds:.2f} s and {full_evaluations}; {same}.",
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--few", type=int, default=5, help="oracle picks at the larger sizes")
    parser.add_argument("--output", type=Path, help="write the report (markdown) here")
    options = parser.parse_args(arguments)
    use_one_thread()
    sizes = sorted(options.sizes)
    cases = [(n, sigma) for n in sizes for sigma in (0.5, 0.0)]
    records = [compare(n, N_PICKS if n == sizes[0] else options.few, s) for n, s in cases]
    text = report(records, compare_lazy())
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text)
    return 0 if all(record["same"] for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
