"""Linear ACE of many elements: errors, features, cost and memory with an embedding and without.

    python benchmarks/many_elements.py run [--cases two,five] [--degrees 10,11,12]
    python benchmarks/many_elements.py table

Structures are frames of MD by EMT, 32 fcc atoms of random composition, lattice constant (-3 to
+5 %) and temperature (300 to 1500 K): copper and gold, and five elements. Each fit is one line of
benchmarks/results/many_elements.jsonl, made in a process of its own; those that are there are not
made again. Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _timing import interleaved, machine, markdown_table, use_one_thread

RESULTS = Path(__file__).parent / "results" / "many_elements.jsonl"
FRAMES = Path(__file__).parent / "cache"
KEYS = ("REF_energy", "REF_forces")
LATTICE = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89}
CASES = {"two": ("Cu", "Au"), "five": ("Cu", "Ag", "Au", "Ni", "Pd")}
N_RUNS = {"two": 40, "five": 80}
N_TEST_RUNS, FRAMES_PER_RUN, STEPS, STEP_FS = 25, 2, 40, 4.0
FITS: dict[str, dict[int, list[tuple[int, float] | None]]] = {
    "two": {
        10: [None, (1, 3.0), (2, 1.0), (2, 1.25), (2, 1.5), (2, 2.0), (2, 3.0)],
        11: [(2, 2.0), (2, 3.0)],
        12: [None, (1, 3.0), (2, 1.0), (2, 2.0), (2, 3.0)],
    },
    "five": {
        10: [*((channels, 3.0) for channels in range(1, 6)), (3, 2.0)],
        12: [(3, 3.0), (4, 3.0)],
    },
}
"""Channels and cost of each embedding, None for the full basis; by case and total degree."""
WITHIN = 1.1
"""Errors over those of the full basis, at which an embedding is as good."""
TARGET_ENERGY_MEV, TARGET_FORCE_RATIO, TARGET_FEATURES = 10.0, 2.0, 5000


def dynamics(elements: Sequence[str], n_runs: int, seed: int) -> list[Any]:
    """Labelled frames of short runs, each of an alloy of its own."""
    import numpy as np
    from ase import units
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.constraints import FixCom
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import thermalize_momenta

    frames = []
    for run in range(n_runs):
        rng = np.random.default_rng([seed, run])
        symbols = rng.choice(elements, 32, p=rng.dirichlet(np.ones(len(elements))))
        a = np.mean([LATTICE[symbol] for symbol in symbols]) * rng.uniform(0.97, 1.05)
        atoms = bulk("Cu", cubic=True, a=a).repeat(2)
        atoms.symbols = symbols
        atoms.calc = EMT()
        atoms.set_constraint(FixCom())
        hot = {"temperature_K": rng.uniform(300.0, 1500.0), "rng": rng}
        thermalize_momenta(atoms, **hot)
        walk = Langevin(atoms, STEP_FS * units.fs, friction=0.02, fixcm=False, **hot)
        for _ in range(FRAMES_PER_RUN):
            walk.run(STEPS)
            frame = atoms.copy()
            frame.set_constraint()
            frame.info[KEYS[0]] = atoms.get_potential_energy()
            frame.arrays[KEYS[1]] = atoms.get_forces(apply_constraint=False)
            frames.append(frame)
    return frames


def frames_of(case: str) -> tuple[list[Any], list[Any]]:
    """Training and test structures, computed once."""
    from ase.io import read, write

    parts = []
    for name, n_runs, seed in (("train", N_RUNS[case], 1), ("test", N_TEST_RUNS, 2)):
        path = FRAMES / f"many_elements_{case}_{name}.extxyz"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            begun = path.with_name(f"begun_{path.name}")
            write(begun, dynamics(CASES[case], n_runs, seed))
            begun.rename(path)
        parts.append(read(path, ":"))
    return parts[0], parts[1]


def fit(case: str, degree: int, channels: int | None, cost: float) -> dict[str, Any]:
    """Errors, cost and memory of one model."""
    import numpy as np

    from ase_bayesel import ACEDescriptor, BiasedCalculator, fit_surrogate
    from ase_bayesel.descriptors.embedding import Embedding

    train, test = frames_of(case)
    embedding = None if channels is None else Embedding(channels, cost)
    descriptor = ACEDescriptor(CASES[case], 3, degree, embedding=embedding)
    start = time.process_time()
    surrogate = fit_surrogate(train, descriptor, *KEYS, e0s="average")
    seconds = time.process_time() - start
    energies, forces = [], []
    calculators = {
        "model": surrogate.calculator(),
        "biased": BiasedCalculator(surrogate.calculator(), surrogate, tau=0.1),
    }
    for atoms in test:
        copy = atoms.copy()
        copy.calc = calculators["model"]
        energies.append((copy.get_potential_energy() - atoms.info[KEYS[0]]) / len(atoms))
        forces.append(copy.get_forces() - atoms.arrays[KEYS[1]])
    turns = {name: itertools.cycle(test) for name in calculators}
    calls = {
        name: lambda c=calculator, t=turns[name]: c.calculate(next(t), ["energy", "forces"])
        for name, calculator in calculators.items()
    }
    steps = interleaved(calls, rounds=5, clock=time.process_time)
    n_many = degree * len(CASES[case]) * (len(CASES[case]) + 1) // 2
    return {
        "case": case,
        "elements": CASES[case],
        "degree": degree,
        "channels": channels,
        "cost": None if channels is None else cost,
        "n_features": descriptor.n_features,
        "n_per_centre": (descriptor.n_features - n_many) // len(CASES[case]),
        "n_train": len(train),
        "n_test": len(test),
        "energy_rmse_meV": 1e3 * float(np.sqrt(np.mean(np.square(energies)))),
        "force_rmse_meV_A": 1e3 * float(np.sqrt(np.mean(np.square(forces)))),
        "force_std_meV_A": 1e3 * float(np.std([a.arrays[KEYS[1]] for a in test])),
        "fit_s": seconds,
        "us_per_atom": {name: 1e6 * value / len(test[0]) for name, value in steps.items()},
        "posterior_MiB": surrogate.posterior.precision_factor.nbytes / 2**20,
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "machine": machine(),
    }


def read_results() -> list[dict[str, Any]]:
    """What has been run."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def run(cases: Sequence[str], degrees: Sequence[int]) -> None:
    """Make the fits that are not there, each in a process of its own, whose memory is its own."""
    for case in cases:
        frames_of(case)
        for degree, chosen in itertools.product(degrees, (None, *embeddings(case))):
            if chosen not in FITS[case].get(degree, []):
                continue
            channels, cost = (None, 0.0) if chosen is None else chosen
            key = (case, degree, channels, None if channels is None else cost)
            if any(tuple(r[k] for k in KEY) == key for r in read_results()):
                continue
            one = [
                sys.executable,
                __file__,
                "fit",
                case,
                str(degree),
                str(channels or 0),
                str(cost),
            ]
            line = subprocess.run(one, check=True, capture_output=True, text=True).stdout
            with RESULTS.open("a") as file:
                file.write(line)
            print(*key, "done", flush=True)


KEY = ("case", "degree", "channels", "cost")


def embeddings(case: str) -> list[tuple[int, float]]:
    """All embeddings of a case."""
    return sorted({e for fits in FITS[case].values() for e in fits if e is not None})


def counts() -> list[str]:
    """Tables of how many features there are."""
    from ase_bayesel.descriptors.ace.basis import count_functions
    from ase_bayesel.descriptors.embedding import Embedding

    degree, elements, channels = 12, range(1, 6), range(1, 7)
    full = [
        n * count_functions((0.0,) * n, 3, degree, 10**6) + degree * n * (n + 1) // 2
        for n in elements
    ]
    rows = [
        [
            f"{cost:g}",
            *(count_functions(Embedding(d, cost).costs, 3, degree, 10**6) for d in channels),
        ]
        for cost in (2.0, 3.0, 4.0)
    ]
    return [
        f"Features of the full basis, T = {degree}, by the number of elements:",
        markdown_table(["elements", *map(str, elements)], [["features", *full]]),
        f"Many-body features of each centre element with an embedding, T = {degree}:",
        markdown_table(["cost, channels", *map(str, channels)], rows),
    ]


def table() -> str:
    """The results as markdown, and whether the five elements are as good as wanted."""
    parts, results = counts(), read_results()
    header = ["T", "basis", "features", "per centre", "energy, meV/atom", "forces, meV/A"]
    header += ["fit, s", "step, us/atom", "biased step", "posterior, MiB", "peak, MiB", "date"]
    for case, elements in CASES.items():
        ours = sorted((r for r in results if r["case"] == case), key=_place)
        rows = [
            [
                *(r["degree"], _basis(r), r["n_features"], r["n_per_centre"]),
                *(r["energy_rmse_meV"], r["force_rmse_meV_A"], r["fit_s"]),
                *(r["us_per_atom"]["model"], r["us_per_atom"]["biased"]),
                *(r["posterior_MiB"], r["peak_MiB"], r["machine"]["date"]),
            ]
            for r in ours
        ]
        if ours:
            first = ours[0]
            parts.append(
                f"{', '.join(elements)}: {first['n_train']} training and {first['n_test']} test "
                f"structures, root mean square of the forces {first['force_std_meV_A']:.0f} meV/A."
            )
            parts.append(markdown_table(header, rows))
        if case == "two":
            parts.append("\n".join(_smallest(ours)))
    return "\n\n".join([*parts, *_verdicts(results)]) + "\n"


def _place(result: dict[str, Any]) -> tuple[float, ...]:
    full = result["channels"] is None
    return result["degree"], full, result["channels"] or 0, -(result["cost"] or 0.0)


def _basis(result: dict[str, Any]) -> str:
    if result["channels"] is None:
        return "full"
    plural = "" if result["channels"] == 1 else "s"
    return f"{result['channels']} channel{plural}, cost {result['cost']:g}"


def _smallest(results: Sequence[dict[str, Any]]) -> list[str]:
    """Of each degree, the fewest features that are as good as the full basis."""
    lines = []
    for full in (r for r in results if r["channels"] is None):
        good = [
            r
            for r in results
            if r["degree"] == full["degree"]
            and r is not full
            and all(r[key] <= WITHIN * full[key] for key in ("energy_rmse_meV", "force_rmse_meV_A"))
        ]
        best = min(good, key=lambda r: r["n_features"], default=None)
        found = "none" if best is None else f"{_basis(best)}, {best['n_features']} features"
        share = "" if best is None else f" ({best['n_features'] / full['n_features']:.2f} of all)"
        lines.append(
            f"* T = {full['degree']}, fewest features with energies and forces at most "
            f"{100 * (WITHIN - 1):.0f} % worse than the full basis: {found}{share}."
        )
    return lines


def _verdicts(results: Sequence[dict[str, Any]]) -> list[str]:
    """Five elements beside the best model of two of the same degree, each on MD of its own."""
    best: dict[int, float] = {}
    for result in results:
        if result["case"] == "two":
            degree, error = result["degree"], result["force_rmse_meV_A"]
            best[degree] = min(error, best.get(degree, error))
    lines = []
    for result in sorted((r for r in results if r["case"] == "five"), key=_place):
        degree = result["degree"]
        if degree not in best or result["channels"] < 3:
            continue
        ratio = result["force_rmse_meV_A"] / best[degree]
        good = (
            result["energy_rmse_meV"] < TARGET_ENERGY_MEV
            and ratio < TARGET_FORCE_RATIO
            and result["n_features"] <= TARGET_FEATURES
        )
        lines.append(
            f"* T = {degree}, {_basis(result)}: forces of five elements {ratio:.2f} times as wrong "
            f"as the best ones of two; as wanted: {'yes' if good else 'no'}."
        )
    wanted = (
        f"Wanted: energies within {TARGET_ENERGY_MEV:g} meV/atom, a ratio below "
        f"{TARGET_FORCE_RATIO:g} and at most {TARGET_FEATURES} features."
    )
    return ["\n".join([*lines, "", wanted])] if lines else []


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "table":
        print(table(), end="")
        return 0
    use_one_thread()
    if options.command == "fit":
        print(json.dumps(fit(options.case, options.degree, options.channels or None, options.cost)))
    else:
        run(options.cases.split(","), [int(degree) for degree in options.degrees.split(",")])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="make the fits that are not there yet")
    running.add_argument("--cases", default="two,five")
    running.add_argument("--degrees", default="10,11,12")
    commands.add_parser("table", help="print what has been found")
    one = commands.add_parser("fit", help="one fit, as a line of JSON")
    one.add_argument("case", choices=list(CASES))
    one.add_argument("degree", type=int)
    one.add_argument("channels", type=int, help="0 for the full basis")
    one.add_argument("cost", type=float)
    return parser


if __name__ == "__main__":
    sys.exit(main())
