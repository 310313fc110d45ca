"""Reproduce the tables and figures of Rocke and Kermode (2025) on the silicon set of 2018.

    OMP_NUM_THREADS=1 python scripts/reproduce_paper.py --data data/si2018 --out reproduction

490 core structures are always trained on; N of 186 surface structures are picked by each method
with linear ACE of order 3, total degree 16, as descriptor and refitted as potential: Bayesian
linear regression with ACEpotentials' weights, hyperparameters by evidence. Judged are the errors
of energies and forces over all 676 structures and the relaxed (100) and (111) surface energies
(protocol of silicon_fit.py). k-medoids and the Bayesian energy variance also pick with total
degrees 12 and 19 and with the features of any MACE models that are given. All is repeated for
random sub-pools of three quarters of the pool; every second one lacks the structures
0 and 1, clean (001) slabs that are almost the slab of the test.

Every refit is one line in OUT/results.jsonl: run the command again to go on where it stopped.
The report goes to OUT/report, or to the folder that is named. --quick is a check in a few
minutes with total degree 12, few methods, seeds and sub-pools; its numbers are not the paper's.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paper_methods import CATALOGUE, EVERYTHING, Selector
from paper_refit import Design, SiliconSet, judge, load_design, refit
from paper_report import write_report

from ase_bayesel.descriptors import Descriptor
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.resources.threads import cpu_threads

NUMBERS = (5, 10, 20, 50, 100)
DEGREES = {"ACE (S)": 12, "ACE (M)": 16, "ACE (L)": 19}
OTHER_DESCRIPTORS = ("k_medoids", "variance", "variance_efv")
SLOW = ("force", "logdet", "i_opt_efv", "c_opt_efv")
"""Methods that score with all rows of every label."""

MIXED = ("i_opt_mixed", "c_opt_mixed", "c_i_opt")
"""Methods that score by energies and take up all rows."""

COMPARED = ("random", "k_medoids", "variance", "i_opt", "c_opt", *MIXED)
"""Methods that the sub-pools begin with."""

POOL_PART = 140 / 186
CLEAN_SLABS = (0, 1)


@dataclass(frozen=True)
class Task:
    """One method on one pool: ``pool`` is None for all structures, else a sub-pool's number."""

    pool: int | None
    descriptor: str
    method: str
    seed: int


@dataclass(frozen=True)
class Plan:
    """What is run, in this order; ``reference`` is the descriptor that is refitted."""

    reference: str
    numbers: tuple[int, ...]
    tasks: tuple[Task, ...]


def full_plan(mace: Sequence[str], n_pools: int = 10) -> Plan:
    """Everything; what takes longest comes last."""
    reference = "ACE (M)"
    fast = [m for m in CATALOGUE if m not in SLOW]
    tasks = [Task(None, reference, m, 0) for m in (EVERYTHING, *fast) if m != "random"]
    tasks += [Task(None, reference, "random", seed) for seed in range(20)]
    tasks += [Task(None, reference, m, 0) for m in SLOW[:2]]
    tasks += _pool_tasks(reference, COMPARED, n_pools, n_seeds=2)
    descriptors = ["ACE (S)", "ACE (L)", *mace]
    tasks += [Task(None, name, m, 0) for name in descriptors for m in OTHER_DESCRIPTORS]
    tasks += [Task(None, reference, m, 0) for m in SLOW[2:]]
    rest = [m for m in fast if m not in COMPARED]
    tasks += _pool_tasks(reference, rest, n_pools, n_seeds=1)
    tasks += _pool_tasks(reference, SLOW, n_pools, n_seeds=1)
    return Plan(reference, NUMBERS, tuple(tasks))


def quick_plan() -> Plan:
    """A few minutes of each kind."""
    reference, methods = "ACE (S)", ["k_medoids", "variance", "c_opt"]
    tasks = [Task(None, reference, m, 0) for m in methods]
    tasks += [Task(None, reference, "random", seed) for seed in range(3)]
    tasks += _pool_tasks(reference, ["random", *methods], n_pools=2, n_seeds=1)
    tasks.append(Task(None, reference, EVERYTHING, 0))
    return Plan(reference, NUMBERS[:3], tuple(tasks))


def _pool_tasks(reference: str, methods: Sequence[str], n_pools: int, n_seeds: int) -> list[Task]:
    return [
        Task(pool, reference, method, seed)
        for pool in range(n_pools)
        for method in methods
        for seed in range(n_seeds if method == "random" else 1)
    ]


def pool_members(pool: int | None, n_all: int) -> np.ndarray:
    """Indices of the structures of a sub-pool, sorted; odd ones lack `CLEAN_SLABS`."""
    everyone = np.arange(n_all)
    if pool is None:
        return everyone
    allowed = np.setdiff1d(everyone, CLEAN_SLABS) if pool % 2 else everyone
    n = round(POOL_PART * n_all)
    return np.sort(np.random.default_rng([2018, pool]).choice(allowed, n, replace=False))


class Results:
    """Records of finished refits, one JSON line each; a torn last line is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = path.read_bytes() if path.exists() else b""
        whole = whole[: whole.rfind(b"\n") + 1]
        if path.exists():
            os.truncate(path, len(whole))
        self.records = [json.loads(line) for line in whole.splitlines()]
        self._by_picks = {tuple(sorted(r["picks"])): r["values"] for r in self.records}

    def done(self, task: Task) -> set[int]:
        """Numbers of picks for which a task is finished."""
        return {r["n"] for r in self.records if r["task"] == vars(task)}

    def known(self, picks: Sequence[int]) -> dict | None:
        """The values of an earlier refit with the same picks in any order."""
        return self._by_picks.get(tuple(sorted(picks)))

    def add(self, task: Task, n: int, picks: Sequence[int], values: dict) -> None:
        """Append one record by a single write."""
        record = {"task": vars(task), "n": n, "picks": list(picks), "values": values}
        with open(self.path, "ab", buffering=0) as handle:
            handle.write(json.dumps(record).encode() + b"\n")
        self.records.append(record)
        self._by_picks[tuple(sorted(picks))] = values


def run(
    plan: Plan, structures: SiliconSet, design: Design, selectors: dict, results: Results
) -> Iterator[tuple[Task, float]]:
    """Finish what is missing of a plan; yields each task and its seconds."""
    for task in plan.tasks:
        start = time.perf_counter()
        members = pool_members(task.pool, len(structures.pool))
        whole = task.method == EVERYTHING
        numbers = [len(members)] if whole else [n for n in plan.numbers if n <= len(members)]
        missing = [n for n in numbers if n not in results.done(task)]
        if not missing:
            continue
        if whole:
            found = {len(members): members.tolist()}
        else:
            selector, method = selectors[task.descriptor], CATALOGUE[task.method]
            found = selector.picks(method, members, missing, task.seed)
        for n, picks in found.items():
            values = results.known(picks) or judge(design, refit(design, picks))
            results.add(task, n, picks, values)
        yield task, time.perf_counter() - start


def mace_descriptors(files: Sequence[Path]) -> dict[str, Descriptor]:
    """MACE node features by name of the model's file."""
    if not files:
        return {}
    from ase_bayesel.descriptors.mace import MACEDescriptor

    return {f"MACE ({path.stem})": MACEDescriptor(path, elements=["Si"]) for path in files}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    structures = SiliconSet.read(options.data)
    descriptors: dict[str, Descriptor] = {
        name: ACEDescriptor(["Si"], order=3, totaldegree=degree) for name, degree in DEGREES.items()
    }
    mace = mace_descriptors(options.mace)
    descriptors |= mace
    plan = quick_plan() if options.quick else full_plan(list(mace))
    out = options.out / ("quick" if options.quick else "full")
    with cpu_threads(1):
        design = load_design(structures, descriptors[plan.reference], out / "design")
        selectors = {name: Selector(structures, d, out) for name, d in descriptors.items()}
        results = Results(out / "results.jsonl")
        steps = run(plan, structures, design, selectors, results)
        for task, seconds in steps:
            print(*vars(task).values(), f"{seconds:.1f} s", flush=True)
        write_report(options.report or out / "report", plan, structures, descriptors, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="core and surfaces.extxyz")
    parser.add_argument("--out", type=Path, default=Path("reproduction"), help="cache and report")
    parser.add_argument("--report", type=Path, help="folder of the report")
    parser.add_argument("--quick", action="store_true", help="a check in a few minutes")
    parser.add_argument(
        "--mace", type=Path, nargs="*", default=[], help="models whose features also pick"
    )
    return parser


if __name__ == "__main__":
    main()
