"""Cost of biased MACE walkers in lock-step, per walker, over a plain MACE step.

    python benchmarks/mace_batch.py [--atoms 8 64] [--walkers 1 2 4 8 16] [--device cuda]

A random-weight two-layer model on silicon. "Bare" is mace's own calculator: energy,
forces and stress of one structure. "Evaluation" is one combined evaluation of
E - tau sigma_E for each walker; "MD" a step of `run_walkers` with all that belongs
to it, over a step of ASE's Langevin dynamics on the bare calculator. "No limit"
is the evaluation with all walkers in one batch, whatever their size. Where torch-sim is
installed, its Langevin dynamics on `BiasedModel` take their turns too. Times are CPU
seconds of one thread, on a GPU those of the wall; there the last column is the largest
memory that tensors took.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from _timing import clock_of, interleaved, machine_line, markdown_table, use_one_thread

TIMESTEP_FS = 0.01
"""So short that structures stay what they are: a random-weight model holds nothing together."""

WAYS = ("evaluation", "no limit", "MD", "torch-sim MD")
DYNAMICS = ("MD", "torch-sim MD")
"""Ways that are compared with plain MD, the others with a plain evaluation."""

TARGET = 0.75
TARGET_AT = (8, 8, "evaluation")
"""Atoms, walkers and way of the project's target."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--walkers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--irreps", default="64x0e", help="such as 128x0e+128x1o")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--device", default="cpu", help="of PyTorch, such as cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slot", type=float, default=0.1, help="seconds of a turn, at least")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="beside bare ones")
    options = parser.parse_args(arguments)
    use_one_thread()

    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    torch.set_num_threads(1)
    print(machine_line(options.device), flush=True)
    print(f"MACE {options.irreps}, r = {options.cutoff} A, {options.dtype}\n")
    if "torch-sim MD" in options.ways and find_spec("torch_sim") is None:
        print("torch-sim MD: skipped, torch-sim is not installed\n")
    rows = []
    for n_atoms in options.atoms:
        calls = _calls(n_atoms, options)
        clock = clock_of(options.device)
        times = interleaved(calls, rounds=options.rounds, slot_s=options.slot, clock=clock)
        for (way, n_walkers), seconds in times.items():
            ratio = seconds / n_walkers / times["bare MD" if way in DYNAMICS else "bare", 1]
            target = TARGET if (n_atoms, n_walkers, way) == TARGET_AT else ""
            met = "" if target == "" else ("yes" if ratio <= target else "no")
            per_walker = f"{1e3 * seconds / n_walkers:.2f}"
            row = [n_atoms, way, n_walkers, per_walker, f"{ratio:.2f}", target, met]
            if options.device != "cpu":
                row.append(_peak_MiB(calls[way, n_walkers]))
            rows.append(row)
    header = ["atoms", "way", "walkers", "ms per walker", "over bare", "target", "met"]
    header += [] if options.device == "cpu" else ["MiB"]
    print(markdown_table(header, rows))


def _peak_MiB(call: Callable[[], object]) -> str:
    """What tensors take at most on the GPU in a call, beyond what they take before it."""
    import torch

    call()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"


def _calls(
    n_atoms: int, options: argparse.Namespace
) -> dict[tuple[str, int], Callable[[], object]]:
    """A step of all walkers, by way and number of walkers."""
    from helpers.mace_models import mace_calculator, tiny_mace

    model = tiny_mace(
        ["Si"],
        options.irreps,
        options.dtype,
        options.cutoff,
        correlation=3,
        radial=(64, 64, 64),
    )
    calculator = mace_calculator(model, options.dtype, options.device)
    surrogate = _surrogate(calculator)
    calls: dict[tuple[str, int], Callable[[], object]] = {
        ("bare", 1): _evaluation([calculator], n_atoms),
        ("bare MD", 1): _plain_md(mace_calculator(model, options.dtype, options.device), n_atoms),
    }
    for n_walkers in options.walkers:
        biased = partial(_biased, calculator, surrogate, n_walkers)
        if "evaluation" in options.ways:
            calls["evaluation", n_walkers] = _evaluation(biased(), n_atoms)
        if "no limit" in options.ways:
            calls["no limit", n_walkers] = _unlimited(_evaluation(biased(), n_atoms))
        if "MD" in options.ways:
            calls["MD", n_walkers] = _lockstep_md(biased(), n_atoms)
        if "torch-sim MD" in options.ways and find_spec("torch_sim") is not None:
            calls["torch-sim MD", n_walkers] = _torchsim_md(surrogate, n_walkers, n_atoms)
    return calls


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

    def call() -> None:
        call_batched(calls)
        for calculator in calculators:  # as `run_walkers` does, lest all hold their passes
            if (prediction := getattr(calculator, "last_prediction", None)) is not None:
                prediction.release()

    return call


def _unlimited(call: Callable[[], object]) -> Callable[[], object]:
    from ase_bayesel import MACEDescriptor

    def unlimited() -> None:
        limits = dict(MACEDescriptor.walker_atoms)
        MACEDescriptor.walker_atoms.update(dict.fromkeys(limits, 10**9))
        call()
        MACEDescriptor.walker_atoms.update(limits)

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


def _torchsim_md(surrogate, n_walkers: int, n_atoms: int) -> Callable[[], object]:
    import torch
    from ase import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch-sim
        import torch_sim
        from torch_sim.integrators import nvt_langevin

        from ase_bayesel.bias.torchsim import BiasedModel

    model = BiasedModel(surrogate, 0.1)
    settings = {"device": model.device, "dtype": model.dtype}
    timestep = torch.tensor(TIMESTEP_FS * units.fs, **settings)
    start, update = nvt_langevin(
        model,
        dt=timestep,
        kT=torch.tensor(100.0 * units.kB, **settings),
        gamma=torch.tensor(0.01 / units.fs, **settings),
    )
    frames = [_silicon(n_atoms, seed) for seed in range(n_walkers)]
    state = start(torch_sim.io.atoms_to_state(frames, **settings))

    def step() -> None:
        nonlocal state
        state = update(state)
        state.energy.cpu()  # waits for the device

    return step


if __name__ == "__main__":
    main()
