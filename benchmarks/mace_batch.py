"""Cost of biased MACE walkers in lock-step, per walker, over a plain MACE step.

    python benchmarks/mace_batch.py [--atoms 8 64] [--walkers 1 2 4 8 16] [--channels 64]

A random-weight two-layer model on silicon. "Bare" is mace's own calculator: energy,
forces and stress of one structure. "Evaluation" is one combined evaluation of
E - tau sigma_E for each walker; "MD" a step of `run_walkers` with all that belongs
to it, over a step of ASE's Langevin dynamics on the bare calculator. "No limit"
is the evaluation with all walkers in one batch, whatever their size. Times are CPU
seconds of one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _timing import interleaved, machine_line, markdown_table, use_one_thread

TIMESTEP_FS = 0.01
"""So short that structures stay what they are: a random-weight model holds nothing together."""

TARGET = 0.75
TARGET_AT = (8, 8, "evaluation")
"""Atoms, walkers and way of the project's target."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--walkers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--irreps", default="64x0e", help="such as 128x0e+128x1o")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    torch.set_num_threads(1)
    print(machine_line(), flush=True)
    print(f"MACE {arguments.irreps}, r = {arguments.cutoff} A, {arguments.dtype}")
    rows = []
    for n_atoms in arguments.atoms:
        times = _measure(n_atoms, arguments)
        for (way, n_walkers), seconds in times.items():
            ratio = seconds / n_walkers / times["bare MD" if way == "MD" else "bare", 1]
            target = TARGET if (n_atoms, n_walkers, way) == TARGET_AT else ""
            met = "" if target == "" else ("yes" if ratio <= target else "no")
            per_walker = f"{1e3 * seconds / n_walkers:.1f}"
            rows.append([n_atoms, way, n_walkers, per_walker, f"{ratio:.2f}", target, met])
    header = ["atoms", "way", "walkers", "ms per walker", "over bare", "target", "met"]
    print(markdown_table(header, rows))


def _measure(n_atoms: int, arguments: argparse.Namespace) -> dict[tuple[str, int], float]:
    """Seconds of a step of all walkers, by way and number of walkers."""
    from helpers.mace_models import mace_calculator, tiny_mace

    model = tiny_mace(
        ["Si"],
        arguments.irreps,
        arguments.dtype,
        arguments.cutoff,
        correlation=3,
        radial=(64, 64, 64),
    )
    calculator = mace_calculator(model, arguments.dtype)
    surrogate = _surrogate(calculator)
    calls: dict[tuple[str, int], Callable[[], object]] = {
        ("bare", 1): _evaluation([calculator], n_atoms),
        ("bare MD", 1): _plain_md(mace_calculator(model, arguments.dtype), n_atoms),
    }
    for n_walkers in arguments.walkers:
        biased = partial(_biased, calculator, surrogate, n_walkers)
        calls["evaluation", n_walkers] = _evaluation(biased(), n_atoms)
        calls["no limit", n_walkers] = _unlimited(_evaluation(biased(), n_atoms))
        calls["MD", n_walkers] = _lockstep_md(biased(), n_atoms)
    return interleaved(calls, rounds=arguments.rounds, slot_s=0.1, clock=time.process_time)


def _surrogate(calculator):
    from ase_bayesel import MACEDescriptor, Posterior, Surrogate
    from ase_bayesel.surrogate.design import Noise

    descriptor = MACEDescriptor(calculator)
    return Surrogate(descriptor, Posterior.isotropic(descriptor.n_features, 0.1), {}, Noise())


def _biased(calculator, surrogate, n_walkers: int):
    from ase_bayesel import BiasedCalculator

    return [BiasedCalculator(calculator, surrogate, tau=0.1) for _ in range(n_walkers)]


def _silicon(n_atoms: int, seed: int):
    import numpy as np
    from ase.build import bulk

    repeat = round((n_atoms / 8) ** (1 / 3))
    atoms = bulk("Si", cubic=True) * (repeat, repeat, repeat)
    if len(atoms) != n_atoms:
        raise SystemExit(f"--atoms: {n_atoms} is not 8, 64, 216, ...")
    atoms.positions += np.random.default_rng(seed).normal(0, 0.05, atoms.positions.shape)
    return atoms


def _evaluation(calculators, n_atoms: int) -> Callable[[], object]:
    from ase_bayesel.bias.batching import call_batched

    frames = [_silicon(n_atoms, seed) for seed in range(len(calculators))]

    def forces(number: int):
        frames[number].positions[0, 0] += 1e-7  # no calculator may answer from its memory
        calculators[number].get_forces(frames[number])

    calls = {number: partial(forces, number) for number in range(len(calculators))}
    return lambda: call_batched(calls)


def _unlimited(call: Callable[[], object]) -> Callable[[], object]:
    from ase_bayesel.descriptors.mace import descriptor

    def unlimited() -> None:
        limits = dict(descriptor.BATCH_ATOMS)
        descriptor.BATCH_ATOMS["cpu"] = 10**9
        call()
        descriptor.BATCH_ATOMS.update(limits)

    return unlimited


def _plain_md(calculator, n_atoms: int) -> Callable[[], object]:
    import numpy as np
    from ase import units
    from ase.md.langevin import Langevin

    atoms = _silicon(n_atoms, 0)
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    timestep, friction = TIMESTEP_FS * units.fs, 0.01 / units.fs
    dynamics = Langevin(
        atoms, timestep, temperature_K=100.0, friction=friction, fixcm=False, rng=rng
    )
    return partial(next, dynamics.irun(10**9))


def _lockstep_md(calculators, n_atoms: int) -> Callable[[], object]:
    import numpy as np

    from ase_bayesel import Guards, run_walker, run_walkers

    walkers = [
        run_walker(
            _silicon(n_atoms, seed),
            calculator,
            n_steps=10**9,
            temperature_K=100.0,
            rng=np.random.default_rng(seed),
            timestep_fs=TIMESTEP_FS,
            guards=Guards(max_force=None),
        )
        for seed, calculator in enumerate(calculators)
    ]
    return partial(next, run_walkers(walkers, calculators))


if __name__ == "__main__":
    main()
