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

I-optimal selection with labels of 49 to 439 rows at D = 211, as those of silicon surfaces in linear
ACE, is compared with the same formula on all rows. With ``--data DIR`` (core.extxyz and
surfaces.extxyz of the silicon set) `ase_bayesel.select` itself is timed, features included.
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


def compare_targets(n_pool: int = 186, n_picks: int = 10, width: int = 211) -> dict[str, Any]:
    """I-optimal picks with labels of many rows: reduced to ``width`` rows, and with all of them."""
    import numpy as np
    from scipy.linalg import cho_factor, cho_solve

    from ase_bayesel.selection.methods import greedy, scores
    from ase_bayesel.surrogate.posterior import Posterior
    from ase_bayesel.surrogate.triangular import reduced

    rng = np.random.default_rng(3)
    scale = np.logspace(0.0, -DECADES, width)
    n_rows = 7 + 3 * rng.integers(14, 145, n_pool)
    labels = [rng.normal(size=(int(k), width)) * scale / NOISE for k in n_rows]
    targets = rng.normal(size=(n_pool, width)) * scale
    posterior = Posterior.isotropic(width, 1.0)

    def with_all_rows(now: Posterior, indices: Any) -> Any:
        white_targets = now.whiten(targets)
        falls = []
        for index in indices:
            white = now.whiten(labels[index])
            overlap = white.T @ white_targets
            factor = cho_factor(np.eye(white.shape[1]) + white.T @ white)
            falls.append(np.sum(overlap * cho_solve(factor, overlap)))
        return np.array(falls)

    start = time.process_time()
    few = [reduced(rows) for rows in labels]
    score = scores.target_reduction(few.__getitem__, targets)
    ours = greedy(n_pool, n_picks, posterior, score, few.__getitem__, shrinking=False)
    middle = time.process_time()
    plain = greedy(n_pool, n_picks, posterior, with_all_rows, labels.__getitem__, shrinking=False)
    return {
        "ours": middle - start,
        "plain": time.process_time() - middle,
        "same": ours.indices.tolist() == plain.indices.tolist(),
        "apart": float(np.abs(ours.scores / plain.scores - 1.0).max()),
        "pool": n_pool,
        "picks": n_picks,
        "width": width,
    }


def silicon_seconds(data: Path, n_picks: int = 10) -> dict[str, float]:
    """CPU seconds of `select` on silicon surfaces by method, with energies, forces and virials."""
    from ase.io import read

    from ase_bayesel import ACEDescriptor, fit_surrogate, select

    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=12, cutoff=5.0)
    core, pool = (read(data / f"{name}.extxyz", ":") for name in ("core", "surfaces"))
    surrogate = fit_surrogate(core, descriptor, "dft_energy", "dft_force", "dft_virial")
    aimed = {"c_optimal": {"targets": pool[:2], "coefficients": [1.0, -1.0]}}
    seconds = {}
    for method in ("i_optimal", "c_optimal", "information_gain"):
        start = time.process_time()
        select(pool, n_picks, method, core=surrogate, **aimed.get(method, {}))
        seconds[method] = time.process_time() - start
    return seconds


def report(
    records: Sequence[dict[str, Any]],
    lazy: dict[str, Any],
    targeted: dict[str, Any],
    silicon: dict[str, float],
) -> str:
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
        f"I-optimal, {targeted['picks']} picks from {targeted['pool']} labels of 49 to 439 rows, "
        f"D = {targeted['width']}: {targeted['ours']:.2f} s, with all rows {targeted['plain']:.2f} "
        f"s, ratio {targeted['plain'] / targeted['ours']:.1f}; "
        f"{'the same picks' if targeted['same'] else 'OTHER PICKS'}, scores within "
        f"{targeted['apart']:.0e} of each other.",
    ]
    if silicon:
        told = ", ".join(f"{method} {seconds:.1f} s" for method, seconds in silicon.items())
        parts.append(
            f"`select`, 10 of the silicon surfaces with energies, forces and virials, linear ACE, "
            f"features included: {told}."
        )
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--few", type=int, default=5, help="oracle picks at the larger sizes")
    parser.add_argument("--data", type=Path, help="folder of the silicon set")
    parser.add_argument("--output", type=Path, help="write the report (markdown) here")
    options = parser.parse_args(arguments)
    use_one_thread()
    sizes = sorted(options.sizes)
    cases = [(n, sigma) for n in sizes for sigma in (0.5, 0.0)]
    records = [compare(n, N_PICKS if n == sizes[0] else options.few, s) for n, s in cases]
    silicon = {} if options.data is None else silicon_seconds(options.data)
    text = report(records, compare_lazy(), compare_targets(), silicon)
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text)
    return 0 if all(record["same"] for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
