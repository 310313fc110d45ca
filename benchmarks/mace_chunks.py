"""Rows of MACE features with derivatives: time and memory by the number of atoms in a batch.

    python benchmarks/mace_chunks.py [--chunks 512 1024 2048 4096] [--device cuda]

A random-weight two-layer model on cells of 64 silicon atoms: 128x0e+128x1o, radius 6 A. Each
batch is made once, after one small batch that is not counted; so this is for differences by
factors, not by per cent. Times are of the wall.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _timing import machine_line, markdown_table, use_one_thread

CELL = 64


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--cutoff", type=float, default=6.0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--device", default="cuda", help="of PyTorch")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from helpers.mace_models import mace_calculator, tiny_mace

    from ase_bayesel import MACEDescriptor

    torch.set_num_threads(1)
    irreps = f"{options.channels}x0e+{options.channels}x1o"
    print(machine_line(options.device), flush=True)
    print(f"MACE {irreps}, r = {options.cutoff} A, {options.dtype}\n", flush=True)
    sizes = {"cutoff": options.cutoff, "correlation": 3, "radial": (64, 64, 64)}
    model = tiny_mace(["Si"], irreps, options.dtype, **sizes)
    descriptor = MACEDescriptor(mace_calculator(model, options.dtype, options.device))
    on_gpu = descriptor.network.device.type == "cuda"
    descriptor.compute(_cells(1), derivatives=True)
    rows, limits = [], dict(MACEDescriptor.chunk_atoms)
    try:
        for chunk in options.chunks:
            MACEDescriptor.chunk_atoms[descriptor.network.device.type] = chunk
            frames, before = _cells(chunk // CELL), 0
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            descriptor.compute(frames, derivatives=True)
            milliseconds = 1e3 * (time.perf_counter() - start) / chunk
            peak = (torch.cuda.max_memory_allocated() - before) / 2**20 if on_gpu else ""
            rows.append([chunk, milliseconds, peak])
    finally:
        MACEDescriptor.chunk_atoms.update(limits)
    print(markdown_table(["atoms in a batch", "ms per atom", "MiB"], rows))


def _cells(number: int):
    from ase.build import bulk

    frames = [bulk("Si", cubic=True) * (2, 2, 2) for _ in range(number)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    return frames


if __name__ == "__main__":
    main()
