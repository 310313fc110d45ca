"""Cost of a biased MACE step over a plain one, all ways side by side in one run.

    python benchmarks/mace_step.py [--atoms 8 64 216] [--channels 128] [--device cuda]

A random-weight two-layer model on silicon: 128x0e+128x1o, radius 6 A unless
other sizes are given. "Bare" is mace's own calculator: energy, forces, stress.
Each row compares with a target of the project; times are CPU seconds of one thread, on a
GPU those of the wall.
The rows of "stock blocks" run mace's own modules in place of the lean ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from _timing import clock_of, interleaved, machine_line, markdown_table, use_one_thread

TARGETS = {"combined": 1.03, "separate": 0.95, "cut, combined": 0.75, "cut, separate": 1.10}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64, 216])
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--cutoff", type=float, default=6.0)
    parser.add_argument("--max-ell", type=int, default=2)
    parser.add_argument("--elements", type=int, default=1, help="elements that the model knows")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--device", default="cpu", help="of PyTorch, such as cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slot", type=float, default=0.1, help="seconds of a turn, at least")
    parser.add_argument("--ways", nargs="+", help="beside bare; by default all")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    torch.set_num_threads(1)
    print(machine_line(options.device), flush=True)
    symbols = _symbols(options.elements)
    irreps = f"{options.channels}x0e+{options.channels}x1o"
    print(
        f"MACE {irreps}, max_ell {options.max_ell}, r = {options.cutoff} A, "
        f"{len(symbols)} elements, {options.dtype}\n"
    )
    rows = []
    for n_atoms in options.atoms:
        times = _measure(n_atoms, symbols, irreps, options)
        bare = times["bare"]
        for name, seconds in times.items():
            target = TARGETS.get(name, "")
            ratio = seconds / bare
            met = "" if target == "" else ("yes" if ratio <= target else "no")
            rows.append([n_atoms, name, f"{1e3 * seconds:.2f}", f"{ratio:.2f}", target, met])
    print(markdown_table(["atoms", "way", "ms", "over bare", "target", "met"], rows))


def _symbols(n_elements: int) -> list[str]:
    from ase.data import chemical_symbols

    others = [symbol for symbol in chemical_symbols[1:90] if symbol != "Si"]
    return ["Si", *others[: n_elements - 1]]


def _measure(n_atoms: int, symbols: list[str], irreps: str, options) -> dict[str, float]:
    import numpy as np
    from ase.build import bulk
    from helpers.mace_models import mace_calculator, tiny_mace

    from ase_bayesel import BiasedCalculator, MACEDescriptor, Posterior, Surrogate
    from ase_bayesel.bias.evaluators import SeparateEvaluator
    from ase_bayesel.surrogate.design import Noise

    repeat = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("Si", cubic=True) * (repeat, repeat, repeat)
    if len(atoms) != n_atoms:
        raise SystemExit(f"--atoms: {n_atoms} is not 8, 64, 216, ...")
    atoms.positions += np.random.default_rng(0).normal(0, 0.05, atoms.positions.shape)
    model = tiny_mace(
        symbols,
        irreps,
        options.dtype,
        options.cutoff,
        correlation=3,
        radial=(64, 64, 64),
        max_ell=options.max_ell,
    )

    def calculator():
        return mace_calculator(model, options.dtype, options.device)

    def surrogate(lean=True, **cut):
        descriptor = MACEDescriptor(calculator(), **cut)
        if not lean:
            descriptor.network = descriptor._full
        prior = Posterior.isotropic(descriptor.n_features, 0.1)
        return Surrogate(descriptor, prior, {}, Noise())

    plain = surrogate()
    stock = surrogate(lean=False)
    unfused = BiasedCalculator(calculator(), plain, tau=0.5)
    unfused._evaluator = SeparateEvaluator(calculator(), plain.descriptor)
    ways = {
        "bare": calculator(),
        "combined": BiasedCalculator(calculator(), plain, tau=0.5),
        "separate": BiasedCalculator(calculator(), plain, tau=0.5, separate=True),
        "unfused": unfused,
        "stock blocks, combined": BiasedCalculator(calculator(), stock, tau=0.5),
        "stock blocks, separate": BiasedCalculator(calculator(), stock, tau=0.5, separate=True),
    }
    if len(symbols) > 1:
        small = surrogate(elements=["Si"])
        ways["cut, combined"] = BiasedCalculator(calculator(), small, tau=0.5)
        ways["cut, separate"] = BiasedCalculator(calculator(), small, tau=0.5, separate=True)

    def step(way):
        def call():
            atoms.positions[0, 0] += 1e-7  # no calculator may answer from its memory
            way.get_forces(atoms)

        return call

    wanted = ["bare", *(options.ways or ways)]
    if unknown := set(wanted) - set(ways):
        raise SystemExit(f"--ways: {', '.join(unknown)}: not one of {', '.join(ways)}")
    calls = {name: step(way) for name, way in ways.items() if name in wanted}
    clock = clock_of(options.device)
    return interleaved(calls, rounds=options.rounds, slot_s=options.slot, clock=clock)


if __name__ == "__main__":
    main()
