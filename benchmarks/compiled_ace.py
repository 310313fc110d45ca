"""Linear ACE, T = 16, one core: compiled passes beside the other way and beside another checkout.

    git worktree add /somewhere/else 40e0e20
    OMP_NUM_THREADS=1 python benchmarks/compiled_ace.py /somewhere/else

Needs the extra `fast`. Microseconds of CPU time per atom of one thread: energy, forces and stress
of rattled silicon (order 3, cutoff 5 A) through ASE, by the mean's calculator and by
`BiasedCalculator` at a fixed tau. A process of the other checkout, one of this without compiled
passes and one with them do the same in turn (ABC, CBA); ratios to the other checkout are medians
over the turns. The last columns are the largest relative differences of forces and stress between
the two ways of this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _sides import HERE, Side, answer, in_turns
from _timing import machine_line, markdown_table, use_one_thread

SIZES = {8: (1, 1, 1), 32: (2, 2, 1), 64: (2, 2, 2), 216: (3, 3, 3), 1000: (5, 5, 5)}
N_CALLS = {8: 30, 32: 20, 64: 12, 216: 6, 1000: 3}
WAYS = ("calculator", "biased")


def serve(totaldegree: int) -> None:
    """Do each job that is asked for."""
    import torch
    from ase.build import bulk

    from ase_bayesel import ACEDescriptor, BiasedCalculator, fit_surrogate

    torch.set_num_threads(1)
    rng, frames = np.random.default_rng(0), []
    for _ in range(3):
        frame = bulk("Si", cubic=True)
        frame.positions += rng.normal(0, 0.1, frame.positions.shape)
        frame.info["energy"], frame.arrays["forces"] = -40.0, rng.normal(0, 0.5, (8, 3))
        frames.append(frame)
    surrogate = fit_surrogate(frames, ACEDescriptor(["Si"], 3, totaldegree, 5.0), e0s={"Si": -4.5})
    calculators = {
        "calculator": surrogate.calculator(),
        "biased": BiasedCalculator(surrogate.calculator(), surrogate, tau=0.1),
    }

    def asked(line: str) -> list[Any]:
        way, n_atoms = json.loads(line)
        rng, atoms, times = np.random.default_rng(n_atoms), bulk("Si", cubic=True), []
        atoms *= SIZES[n_atoms]
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = calculators[way]
        for _ in range(N_CALLS[n_atoms]):
            atoms.positions += rng.normal(0, 1e-3, atoms.positions.shape)
            began = time.process_time()
            atoms.get_forces()
            times.append(1e6 * (time.process_time() - began) / n_atoms)
        return [float(np.median(times)), atoms.get_forces().tolist(), atoms.get_stress().tolist()]

    answer(asked)


def rows(sides: Sequence[Side], sizes: Sequence[int], repeats: int) -> list[list[object]]:
    """The rows of the table."""
    table = []
    for way in WAYS:
        for n_atoms in sizes:
            question = json.dumps([way, n_atoms])
            answers: list[Any] = [side.ask(question) for side in sides]  # imports, compilation
            found = in_turns(sides, [question] * repeats)
            times = np.array([[answer[0] for answer in turn] for turn in found])
            ratios = np.median(times[:, 1:] / times[:, :1], axis=0)
            plain, compiled = answers[1:]
            wrong = [_difference(plain[k], compiled[k]) for k in (1, 2)]
            row = [way, n_atoms, *np.median(times, axis=0), *ratios, *wrong]
            table.append([item if isinstance(item, str | int) else float(item) for item in row])
            print(table[-1], file=sys.stderr, flush=True)
    return table


def _difference(one: Any, other: Any) -> float:
    return float(np.abs(np.subtract(one, other)).max() / np.abs(one).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--totaldegree", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    use_one_thread()
    sides = []
    for checkout, switch in ((arguments.other.resolve(), "0"), (HERE, "0"), (HERE, "1")):
        os.environ["BAYESEL_COMPILED"] = switch
        sides.append(
            Side(checkout, __file__, [str(checkout), "--serve", str(arguments.totaldegree)])
        )
    header = ["way", "atoms", "other", "this", "compiled", "this / other", "compiled / other"]
    header += ["forces", "stress"]
    print(f"{machine_line()}\n\nT = {arguments.totaldegree}, microseconds of CPU time an atom.\n")
    print(markdown_table(header, rows(sides, arguments.sizes, arguments.repeats)))
    for side in sides:
        side.close()


if __name__ == "__main__":
    main()
