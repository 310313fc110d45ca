"""Linear ACE in cells of 8 to 216 atoms: what one call and one step of a walker cost.

    OMP_NUM_THREADS=1 python benchmarks/small_cells.py
    git worktree add /somewhere/else 5c918df
    OMP_NUM_THREADS=1 python benchmarks/small_cells.py /somewhere/else

Milliseconds of CPU time of one thread (silicon, order 3, T = 12, cutoff 5 A), energy + forces +
stress through ASE: the mean's calculator, `BiasedCalculator` at a fixed tau, and a walker as a
campaign runs it, with running averages of tau, a calibrated relative force trigger and the
default bound of trust under another posterior. It is looked at in every step ("with check"), or
in every fifth, the default ("walker", a mean over steps). Each row has the first call of a new
trajectory in a warm process, and the median of those that follow. With another checkout a process
of each does the same in turn (ABBA), and the ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _sides import HERE, Side, answer, in_turns
from _timing import machine_line, markdown_table, use_one_thread

SIZES = {8: (1, 1, 1), 32: (2, 2, 1), 64: (2, 2, 2), 216: (3, 3, 3)}
WAYS = ("calculator", "biased", "walker", "walker with check")
N_CALLS = {8: 40, 32: 25, 64: 15, 216: 10}


def jobs(totaldegree: int) -> dict[str, Callable[[int, int], list[float]]]:
    """Each way, as a function of the number of atoms and a seed: ms of the first and of a call."""
    from dataclasses import replace

    from ase.build import bulk

    from ase_bayesel import (
        ACEDescriptor,
        BiasedCalculator,
        RelativeForceTrigger,
        TauRule,
        fit_surrogate,
        run_walker,
    )

    try:
        from ase_bayesel.dynamics.trust import TrustBound
        from ase_bayesel.surrogate.energy_weights import EnergyWeights
    except ImportError:  # before the bound of trust
        TrustBound = EnergyWeights = None

    rng, frames = np.random.default_rng(0), []
    for _ in range(3):
        frame = bulk("Si", cubic=True)
        frame.positions += rng.normal(0, 0.1, frame.positions.shape)
        frame.info["energy"], frame.arrays["forces"] = -40.0, rng.normal(0, 0.5, (8, 3))
        frames.append(frame)
    descriptor = ACEDescriptor(["Si"], 3, totaldegree, 5.0)
    fitted = fit_surrogate(frames, descriptor, e0s={"Si": -4.5})
    if EnergyWeights is not None:
        fitted = replace(fitted, energy_weights=EnergyWeights(1e6, {"Si8 xyz": -1.0}))

    def start_of(n_atoms: int, seed: int) -> Any:
        atoms = bulk("Si", cubic=True) * SIZES[n_atoms]
        atoms.positions += np.random.default_rng(seed).normal(0, 0.05, atoms.positions.shape)
        return atoms

    def calls(calculator: Any, n_atoms: int, seed: int) -> list[float]:
        atoms, moves, times = start_of(n_atoms, seed), np.random.default_rng(1), []
        atoms.calc = calculator
        for _ in range(N_CALLS[n_atoms]):
            atoms.positions += moves.normal(0, 1e-3, atoms.positions.shape)
            began = time.process_time()
            atoms.get_forces()
            times.append(1e3 * (time.process_time() - began))
        return [times[0], float(np.median(times[3:]))]

    def walker(n_atoms: int, seed: int, interval: int) -> list[float]:
        start = start_of(n_atoms, seed)
        known = fitted.condition(frames[0])
        trigger, bound = RelativeForceTrigger(1e9), {}
        if TrustBound is not None:
            trigger = replace(trigger, calibrated=True)
            bound = {"trust": TrustBound().against(fitted, start, [trigger])}
        steps = run_walker(
            start,
            BiasedCalculator(fitted.calculator(), known, tau_rel=TauRule(0.3, delay=2)),
            n_steps=N_CALLS[n_atoms],
            temperature_K=300.0,
            rng=np.random.default_rng(3),
            triggers=[trigger],
            check_interval=interval,
            max_rollbacks=2,
            **bound,
        )
        times, began = [], time.process_time()
        for _ in steps:
            times.append(1e3 * (time.process_time() - began))
            began = time.process_time()
        last = times[1 + len(times[1:]) % interval :]
        return [times[0], float(np.median(np.reshape(last, (-1, interval)).mean(axis=1)))]

    return {
        "calculator": lambda n, seed: calls(fitted.calculator(), n, seed),
        "biased": lambda n, seed: calls(
            BiasedCalculator(fitted.calculator(), fitted, tau=0.5), n, seed
        ),
        "walker": lambda n, seed: walker(n, seed, 5),
        "walker with check": lambda n, seed: walker(n, seed, 1),
    }


def serve(totaldegree: int) -> None:
    """Do each job that is asked for."""
    import torch

    torch.set_num_threads(1)
    known = jobs(totaldegree)

    def asked(line: str) -> list[float]:
        way, n_atoms, seed = json.loads(line)
        return known[way](n_atoms, seed)

    answer(asked)


def measure(sides: Sequence[Side], way: str, n_atoms: int, repeats: int) -> np.ndarray:
    """Milliseconds ``(repeats, sides, 2)`` of the first call and of those after it."""
    return np.array(in_turns(sides, [json.dumps([way, n_atoms, k]) for k in range(repeats)]))


def rows(sides: Sequence[Side], sizes: Sequence[int], repeats: int) -> list[list[object]]:
    """The rows of the table, this checkout last."""
    table = []
    for way in WAYS:
        for n_atoms in sizes:
            measure(sides, way, n_atoms, 1)  # imports, tables, first allocations
            found = measure(sides, way, n_atoms, repeats)
            row: list[object] = [way, n_atoms]
            for call in (0, 1):
                row += [float(ms) for ms in np.median(found[:, :, call], axis=0)]
                if len(sides) > 1:
                    row.append(float(np.median(found[:, 1, call] / found[:, 0, call])))
            table.append(row)
            print(row, file=sys.stderr, flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="another checkout, to compare with")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--totaldegree", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    use_one_thread()
    checkouts = [HERE] if arguments.other is None else [arguments.other.resolve(), HERE]
    options = ["--serve", str(arguments.totaldegree)]
    sides = [Side(checkout, __file__, options) for checkout in checkouts]
    names = ["this"] if len(sides) == 1 else ["other", "this", "ratio"]
    header = ["way", "atoms", *(f"{call}, {name}" for call in ("first", "later") for name in names)]
    print(f"{machine_line()}\n\nT = {arguments.totaldegree}, milliseconds of CPU time.\n")
    print(markdown_table(header, rows(sides, arguments.sizes, arguments.repeats)))
    for side in sides:
        side.close()


if __name__ == "__main__":
    main()
