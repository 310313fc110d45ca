"""The design matrix of linear ACE: one core beside another checkout, and two processes.

    git worktree add /somewhere/else 40e0e20
    python benchmarks/assembly.py [/somewhere/else] [--data FOLDER] [--structures 160]

Features with all derivatives of silicon structures, reduced to triangular factors (order 3,
T = 16, 668 features, cutoff 5 A): of the silicon set where its folder is given, else rattled cells
of 64 atoms. One core: CPU seconds of a process of each checkout, asked in turns (ABBA). Processes:
the tasks of a campaign with ``workers.features`` in a pool of one and of two, in turns, seconds of
the clock; what starts the pool is not counted. The best ratio is 0.5 on two cores that are idle.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _sides import HERE, Side, answer, in_turns
from _timing import machine_line, markdown_table, use_one_thread

SET = ("core.extxyz", "surfaces.extxyz")
E0S = {"Si": -158.54496821}


def structures(folder: Path | None, count: int) -> tuple[list[Any], tuple[str | None, ...]]:
    """``count`` structures, and the keys of their energies, forces and virials."""
    from ase.build import bulk

    from ase_bayesel.structures import read_frames

    if folder is not None:
        frames: list[Any] = [a for name in SET for a in read_frames(folder / name)]
        chosen = np.linspace(0, len(frames) - 1, count).astype(int)
        return [frames[k] for k in chosen], ("dft_energy", "dft_force", "dft_virial")
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk("Si", cubic=True) * 2
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        atoms.info["energy"] = E0S["Si"] * len(atoms) + float(rng.normal())
        atoms.arrays["forces"] = rng.normal(0.0, 0.5, atoms.positions.shape)
        made.append(atoms)
    return made, ("energy", "forces", None)


def serve(frames: Sequence[Any], names: Sequence[str | None], totaldegree: int) -> None:
    """Assemble all structures whenever it is asked for; CPU seconds."""
    import torch

    torch.set_num_threads(1)
    from ase_bayesel import ACEDescriptor

    try:
        from ase_bayesel.structures.labels import PropertyKeys
        from ase_bayesel.surrogate.assembly import assembling
        from ase_bayesel.surrogate.steps import finished
    except ImportError:  # an older layout
        from ase_bayesel.design import assembling, finished

        from ase_bayesel.structures import PropertyKeys
    descriptor = ACEDescriptor(["Si"], 3, totaldegree, 5.0)
    keys = PropertyKeys(*names)

    def once(_: str) -> float:
        began = time.process_time()
        finished(assembling(frames, descriptor, keys, E0S, descriptor.prior_std()))
        return time.process_time() - began

    answer(once)


def in_pool(executor: Any, frames: Sequence[Any], keys: Any, totaldegree: int) -> float:
    """Seconds of the clock for all tasks of a fit and for combining what they give."""
    from ase_bayesel import ACEDescriptor
    from ase_bayesel.campaign.fit_rows import assemble_chunk
    from ase_bayesel.surrogate.design import chunks

    began, make = time.perf_counter(), partial(ACEDescriptor, ["Si"], 3, totaldegree, 5.0)
    futures = [
        executor.submit(
            *(assemble_chunk, make, 1, frames[part], keys, E0S, None, part.start, None, None)
        )
        for part in chunks(frames)
    ]
    whole = futures[0].result()
    for future in futures[1:]:
        whole.absorb(future.result())
    return time.perf_counter() - began


def processes(
    frames: Sequence[Any], names: Sequence[str | None], totaldegree: int, repeats: int
) -> list[list[object]]:
    """A row for a pool of one process and of two."""
    from ase_bayesel.resources import ProcessPool, open_executor
    from ase_bayesel.structures.labels import PropertyKeys

    keys = PropertyKeys(*names)
    with ExitStack() as stack:
        calls: list[Callable[[], float]] = [
            partial(
                in_pool,
                stack.enter_context(open_executor(ProcessPool(n))),
                *(frames, keys, totaldegree),
            )
            for n in (1, 2)
        ]
        found = np.empty((repeats + 1, 2))
        for repeat in range(repeats + 1):
            for n in (0, 1)[:: 1 if repeat % 2 == 0 else -1]:
                found[repeat, n] = calls[n]()
    one, two = np.median(found[1:], axis=0)
    ratio = float(np.median(found[1:, 1] / found[1:, 0]))
    return [["one process", one, ""], ["two processes", two, ratio]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--data", type=Path, help="folder of the silicon set")
    parser.add_argument("--structures", type=int, default=160)
    parser.add_argument("--totaldegree", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    use_one_thread()
    frames, names = structures(options.data, options.structures)
    if options.serve:
        serve(frames, names, options.totaldegree)
        return
    told = ["--serve", f"--structures={options.structures}", f"--totaldegree={options.totaldegree}"]
    told += [] if options.data is None else [f"--data={options.data}"]
    checkouts = [HERE, *([] if options.other is None else [options.other.resolve()])]
    sides = [Side(checkout, __file__, told) for checkout in checkouts]
    found = np.array(in_turns(sides, [""] * (options.repeats + 1)))[1:]
    for side in sides:
        side.close()
    rows: list[list[object]] = [["this checkout", float(np.median(found[:, 0])), ""]]
    if options.other is not None:
        ratio = float(np.median(found[:, 0] / found[:, 1]))
        rows[0][2] = ratio
        rows.append(["other checkout", float(np.median(found[:, 1])), ""])
    n_atoms = sum(map(len, frames))
    of = "the silicon set" if options.data else "rattled silicon"
    print(f"{machine_line()}\n\n{len(frames)} structures of {of}, {n_atoms} atoms, ", end="")
    print(f"T = {options.totaldegree}, median of {options.repeats}.\n\nOne core, CPU seconds:\n")
    print(markdown_table(["", "s", "this / other"], rows))
    print("\nProcesses, seconds of the clock:\n")
    pools = processes(frames, names, options.totaldegree, options.repeats)
    print(markdown_table(["", "s", "two / one"], pools))


if __name__ == "__main__":
    sys.exit(main())
