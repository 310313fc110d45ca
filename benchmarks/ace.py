"""Linear ACE on one core: assembly of the design matrix, and energy + forces per step.

    python benchmarks/ace.py [--data-dir data/si2018] [--output FILE] [--json FILE] [--device cuda]

Steps are energy + forces of rattled silicon through ASE, in microseconds per atom:
the surrogate's own calculator, and `BiasedCalculator` on top of it at fixed tau (one
shared pass forward and back). Times are CPU seconds of one thread, so that other
processes on the machine matter little. Where mace is installed a two-layer MACE of random
weights (float64) takes its turns in the same run; with --device it runs there, and times are
those of the wall. Linear ACE has no device: it runs on the CPU. With --data-dir, which holds
core.extxyz and surfaces.extxyz (scripts/fetch_si2018.py), the design matrix of all
structures is assembled too: features with all derivatives and the triangular
factor of their rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from _timing import clock_of, interleaved, machine, machine_line, markdown_table, use_one_thread

DATA_FILES = ("core.extxyz", "surfaces.extxyz")
KEYS = ("dft_energy", "dft_force", "dft_virial")
REPEATS = {8 * k**3: (k, k, k) for k in (1, 2, 3, 4, 8)}
RATTLE = 0.05
ACE_TARGET_US, ACE_NEXT_US, ASSEMBLY_TARGET_S = 150.0, 100.0, 60.0


def rattled_silicon(n_atoms: int, n_frames: int = 8) -> list[Any]:
    """Copies of a cubic diamond cell of silicon with positions displaced at random (A)."""
    import numpy as np
    from ase.build import bulk

    rng = np.random.default_rng(n_atoms)
    frames = []
    for _ in range(n_frames):
        atoms = bulk("Si", "diamond", a=5.46, cubic=True).repeat(REPEATS[n_atoms])
        atoms.positions += rng.normal(0.0, RATTLE, (n_atoms, 3))
        frames.append(atoms)
    return frames


def ace_surrogate(totaldegree: int) -> Any:
    """A surrogate of the full size with a mean drawn from its prior: cost without a fit."""
    import numpy as np

    from ase_bayesel.descriptors.ace import ACEDescriptor
    from ase_bayesel.surrogate.design import Noise
    from ase_bayesel.surrogate.posterior import Posterior
    from ase_bayesel.surrogate.surrogate import Surrogate

    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=totaldegree)
    prior = Posterior.from_prior(descriptor.prior_std())
    mean = prior.sample(1, np.random.default_rng(0))[0]
    posterior = Posterior(prior.precision_factor.copy(), mean)
    return Surrogate(descriptor, posterior, {"Si": -158.5}, Noise())


def mace_calculator(r_max: float, device: str = "cpu", channels: int = 128) -> Any:
    """A two-layer MACE of random weights, float64; 128x0e+128x1o unless told otherwise."""
    import numpy as np
    import torch

    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 needs it before its import
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside e3nn and mace
        from e3nn import o3
        from mace.calculators import MACECalculator
        from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes

        block = interaction_classes["RealAgnosticResidualInteractionBlock"]
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        model = ScaleShiftMACE(
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
            r_max=r_max,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=1,
            hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.array([-158.5]),
            avg_num_neighbors=30.0,
            atomic_numbers=[14],
            correlation=3,
            gate=gate_dict["silu"],
        )
        return MACECalculator(models=model, device=device, default_dtype="float64")


def step(calculator: Any, frames: Sequence[Any]) -> Callable[[], None]:
    """One MD step's worth of work: energy and forces at positions not seen just before."""
    turn = itertools.cycle(frames)

    def call() -> None:
        atoms = next(turn)
        calculator.calculate(atoms, ["energy", "forces"])

    return call


def time_steps(options: argparse.Namespace, r_max: float | None) -> list[dict[str, Any]]:
    """Microseconds per atom and step of each calculator, one record per size."""
    from ase_bayesel.bias.calculator import BiasedCalculator

    surrogate = ace_surrogate(options.totaldegree)
    calculators = {
        "ace": surrogate.calculator(),
        "biased": BiasedCalculator(surrogate.calculator(), surrogate, tau=0.1),
    }
    if r_max is not None:
        calculators["mace"] = mace_calculator(r_max, options.device, options.mace_channels)
    clock, records = clock_of(options.device), []
    for n_atoms in options.sizes:
        frames = rattled_silicon(n_atoms)
        calls = {name: step(calculator, frames) for name, calculator in calculators.items()}
        medians = interleaved(calls, options.rounds, options.slot, clock)
        micro = {name: 1e6 * seconds / n_atoms for name, seconds in medians.items()}
        records.append({"n_atoms": n_atoms, "us_per_atom": micro})
    return records


def time_assembly(data_dir: Path, totaldegree: int) -> dict[str, Any]:
    """Seconds to reduce the design matrix of all structures to its triangular factors."""
    from ase_bayesel.descriptors.ace import ACEDescriptor
    from ase_bayesel.structures.frames import read_frames
    from ase_bayesel.structures.labels import PropertyKeys
    from ase_bayesel.structures.reference_energies import reference_energies
    from ase_bayesel.surrogate.assembly import assembling
    from ase_bayesel.surrogate.steps import finished

    frames = [atoms for name in DATA_FILES for atoms in read_frames(data_dir / name)]
    keys = PropertyKeys(*KEYS)
    descriptor = ACEDescriptor(["Si"], order=3, totaldegree=totaldegree)
    e0s = reference_energies(frames, "isolated", keys.energy)
    start, start_wall = time.process_time(), time.perf_counter()
    factors = finished(assembling(frames, descriptor, keys, e0s, descriptor.prior_std()))
    rows = sum(factor.n_rows for factor in factors.labelled.values())
    seconds, wall = time.process_time() - start, time.perf_counter() - start_wall
    return {
        "structures": len(frames),
        "rows": rows,
        "features": descriptor.n_features,
        "cpu_seconds": seconds,
        "wall_seconds": wall,
    }


def report(results: dict[str, Any]) -> str:
    """The results as markdown."""
    device, channels = results["device"], results["mace_channels"]
    parts = [
        f"# Linear ACE, T = {results['totaldegree']}, one core, float64",
        machine_line(device),
    ]
    assembly = results.get("assembly")
    if assembly is not None:
        parts.append(
            f"Design matrix of {assembly['structures']} structures ({assembly['rows']} rows, "
            f"{assembly['features']} features): **{assembly['cpu_seconds']:.1f} s** "
            f"of CPU time, {assembly['wall_seconds']:.1f} s by the clock "
            f"(target {ASSEMBLY_TARGET_S:g} s)."
        )
    parts.append(_step_table(results["steps"]))
    notes = (
        f"Microseconds of {'CPU time' if device == 'cpu' else 'the wall'} per atom and step on "
        "one thread, energy + forces + stress through ASE; medians, interleaved in one process. "
        f"Target of ACE: {ACE_TARGET_US:g}, next {ACE_NEXT_US:g}."
    )
    if results["mace_r_max"] is not None:
        notes += (
            f" MACE: two layers, {channels}x0e+{channels}x1o, max_ell 3, correlation 3, random "
            f"weights, cutoff {results['mace_r_max']:g} A, on {device}."
        )
    parts.append(notes)
    return "\n\n".join(parts) + "\n"


def _step_table(records: Sequence[dict[str, Any]]) -> str:
    with_mace = "mace" in records[0]["us_per_atom"]
    header = ["atoms", "ACE", "biased ACE", "biased / ACE"]
    header += ["MACE", "MACE / ACE", "MACE / biased ACE"] if with_mace else []
    rows = []
    for record in records:
        micro = record["us_per_atom"]
        row = [record["n_atoms"], micro["ace"], micro["biased"], micro["biased"] / micro["ace"]]
        if with_mace:
            mace = micro["mace"]
            row += [mace, mace / micro["ace"], mace / micro["biased"]]
        rows.append(row)
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    use_one_thread()
    r_max = None if options.no_mace or find_spec("mace") is None else options.mace_r_max
    results: dict[str, Any] = {
        "machine": machine(options.device),
        "device": options.device,
        "totaldegree": options.totaldegree,
        "mace_r_max": r_max,
        "mace_channels": options.mace_channels,
        "steps": time_steps(options, r_max),
    }
    if options.data_dir is not None:
        results["assembly"] = time_assembly(options.data_dir, options.totaldegree)
    text = report(results)
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="silicon set; without it no assembly")
    parser.add_argument("--totaldegree", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", choices=list(REPEATS), default=[8, 64, 216])
    parser.add_argument("--device", default="cpu", help="of MACE, such as cuda")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each calculator")
    parser.add_argument("--slot", type=float, default=0.2, help="seconds of a turn, at least")
    parser.add_argument("--no-mace", action="store_true", help="leave MACE out")
    parser.add_argument("--mace-r-max", type=float, default=6.0, help="A (default 6)")
    parser.add_argument("--mace-channels", type=int, default=128)
    parser.add_argument("--output", type=Path, help="write the report (markdown) here")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
