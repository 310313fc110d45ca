"""What small walkers of linear ACE would save if they shared a pass, as those of MACE do.

    python benchmarks/shared_passes.py [--walkers 8] [--totaldegree 12]

Milliseconds of CPU time of one thread per walker and step, silicon, order 3, cutoff 5 A:

* one by one: feature row and gradient of cells of 8 atoms, as walkers make them today;
* in one pass: the same of one cell with all their atoms, the least that a shared pass would cost,
  since it has one list of neighbours and one sum;
* waiting: the coroutines in which walkers stand still twice a step until all ask (`bias.batching`).

A shared pass pays where the second and the third are less than the first. Ways are taken in turns.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from typing import Any

import numpy as np
from _timing import interleaved, machine_line, markdown_table, use_one_thread


class _Nothing:
    """Work of one kind that is done at once."""

    kind = "nothing"

    def done(self, wants: dict[int, Any]) -> dict[int, Any]:
        from ase_bayesel.bias.batching import CallResult

        return dict.fromkeys(wants, CallResult())


def ask_twice(work: _Nothing) -> None:
    """Stand still for a forward and for a backward pass."""
    from ase_bayesel.bias.batching import together

    together(work)
    together(work)


def evaluate(descriptor: Any, frames: list[Any]) -> None:
    """Row and gradient of each structure."""
    for atoms in frames:
        row, pullback = descriptor.linearize(atoms)
        pullback(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--walkers", type=int, default=8)
    parser.add_argument("--totaldegree", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    use_one_thread()
    from ase.build import bulk

    from ase_bayesel import ACEDescriptor
    from ase_bayesel.bias.batching import call_batched

    rng, n = np.random.default_rng(0), options.walkers
    small, large = [bulk("Si", cubic=True) for _ in range(n)], bulk("Si", cubic=True) * (1, 1, n)
    for atoms in (*small, large):
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    descriptor = ACEDescriptor(["Si"], 3, options.totaldegree, 5.0)
    asking = partial(ask_twice, _Nothing())
    calls = {
        "one by one": partial(evaluate, descriptor, small),
        "in one pass": partial(evaluate, descriptor, [large]),
        "waiting": partial(call_batched, dict.fromkeys(range(n), asking)),
    }
    rows = []
    for compiled in ("0", "1"):
        os.environ["BAYESEL_COMPILED"] = compiled
        seconds = interleaved(calls, options.rounds, 0.05, time.process_time)
        alone, shared, waiting = (1e3 * seconds[name] / n for name in calls)
        way = "compiled" if compiled == "1" else "numpy"
        rows.append([way, alone, shared, waiting, (shared + waiting) / alone])
    print(f"{machine_line()}\n\n{n} walkers of 8 atoms, T = {options.totaldegree}.\n")
    print(markdown_table(["passes", *calls, "(one pass + waiting) / one by one"], rows))


if __name__ == "__main__":
    main()
