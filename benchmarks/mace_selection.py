"""Selection with MACE features on a GPU beside the same on the CPU.

    python benchmarks/mace_selection.py [--pool 100] [--labelled-pool 16] [--device cuda]

A random-weight two-layer model on rattled silicon. With energies alone as labels the pool has
cells of 64 atoms, and features are all that the network gives; with energies and forces it has
cells of 8 atoms, and their rows take a backward pass for each feature. The network runs on the
device, the algebra of the posterior on the CPU in both columns. Each call is made once, after a
small one that is not counted. Times are of the wall, one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _timing import machine_line, markdown_table, use_one_thread

ENERGY = ("energy",)
CASES = (
    ("energy_variance", ENERGY),
    ("information_gain", ENERGY),
    ("i_optimal", ENERGY),
    ("force_variance", ("energy", "forces")),
    ("information_gain", ("energy", "forces")),
    ("i_optimal", ("energy", "forces")),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=int, default=100, help="structures, labels of an energy")
    parser.add_argument("--labelled-pool", type=int, default=16, help="the same, with forces")
    parser.add_argument("--picks", type=int, default=8)
    parser.add_argument("--irreps", default="64x0e", help="such as 128x0e+128x1o")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--device", default="cuda", help="of PyTorch, beside the CPU")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from ase_bayesel import select

    torch.set_num_threads(1)
    print(machine_line(options.device), flush=True)
    print(f"MACE {options.irreps}, r = {options.cutoff} A, float64; {options.picks} picks\n")
    surrogates = [_surrogate(options, device) for device in ("cpu", options.device)]
    rows = []
    for method, properties in CASES:
        energies = properties == ENERGY
        pool = _pool(options.pool, 2) if energies else _pool(options.labelled_pool, 1)
        seconds, picks = [], []
        for surrogate in surrogates:
            call = {"method": method, "core": surrogate, "properties": properties}
            select(_pool(2, 1), 1, **call)
            start = time.perf_counter()
            picks.append(select(pool, options.picks, **call).indices.tolist())
            seconds.append(time.perf_counter() - start)
        cpu, device = seconds
        common = len({*picks[0]} & {*picks[1]})
        same = "yes" if picks[0] == picks[1] else f"{common} of {options.picks}"
        labels = " + ".join(properties)
        rows.append([method, labels, len(pool), len(pool[0]), cpu, device, cpu / device, same])
    header = ["method", "labels", "pool", "atoms", "CPU, s", f"{options.device}, s", "ratio"]
    print(markdown_table([*header, "same picks"], rows))


def _surrogate(options: argparse.Namespace, device: str):
    from helpers.mace_models import mace_calculator, tiny_mace

    from ase_bayesel import MACEDescriptor, Posterior, Surrogate
    from ase_bayesel.surrogate.design import Noise

    model = tiny_mace(
        ["Si"], options.irreps, cutoff=options.cutoff, correlation=3, radial=(64, 64, 64)
    )
    descriptor = MACEDescriptor(mace_calculator(model, device=device))
    return Surrogate(descriptor, Posterior.isotropic(descriptor.n_features, 0.1), {}, Noise())


def _pool(n_frames: int, repeat: int):
    from ase.build import bulk

    frames = [bulk("Si", cubic=True).repeat(repeat) for _ in range(n_frames)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.02 + 0.2 * seed / n_frames, seed=seed)
    return frames


if __name__ == "__main__":
    main()
