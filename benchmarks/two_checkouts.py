"""The hot path of this checkout beside that of another, in one interleaved run on one core.

    git worktree add /somewhere/else 40e0e20
    OMP_NUM_THREADS=1 python benchmarks/two_checkouts.py /somewhere/else --repeats 16

A process of each checkout makes the same steps in turn (ABBA), and CPU time is measured: a
biased step with linear ACE and with a small MACE model (64 atoms of silicon), at a fixed tau and
with running averages, a walker with a force trigger, averaged over its steps, and what one check
of a relative force trigger adds to a step: steps with a check less steps without, of one answer.
Calibrated triggers are taken where a checkout has them. The last column says whether both give the
same numbers bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _sides import HERE, Side, answer, in_turns
from _timing import machine_line

WAYS = ("tau", "tau_rel", "walker", "checked step", "check")


def jobs(model: str) -> dict[str, Callable[[], tuple[float, str]]]:
    """Each way, as a function that gives CPU ms per step and a hash of the results."""
    from ase.build import bulk

    from ase_bayesel import (
        ACEDescriptor,
        BiasedCalculator,
        ForceTrigger,
        MACEDescriptor,
        RelativeForceTrigger,
        TauRule,
        fit_surrogate,
        run_walker,
    )

    rng = np.random.default_rng(0)
    start = bulk("Si", cubic=True) * (2, 2, 2)
    start.positions += rng.normal(0, 0.05, start.positions.shape)
    frames = []
    for _ in range(3):
        frame = bulk("Si", cubic=True)
        frame.positions += rng.normal(0, 0.1, frame.positions.shape)
        frame.info["energy"], frame.arrays["forces"] = -40.0, rng.normal(0, 0.5, (8, 3))
        frames.append(frame)
    if model == "ace":
        surrogate = fit_surrogate(frames, ACEDescriptor(["Si"], 3, 12, 5.0), e0s={"Si": -4.5})
        mlip, n_steps = surrogate.calculator, 40
    else:
        mace_calculator, network = _tiny_mace()
        surrogate = fit_surrogate(
            frames, MACEDescriptor(mace_calculator(network)), e0s={"Si": -4.5}
        )
        mlip, n_steps = (lambda: mace_calculator(network)), 20

    def steps(**bias: Any) -> tuple[float, str]:
        atoms, moves = start.copy(), np.random.default_rng(1)
        atoms.calc = BiasedCalculator(mlip(), surrogate, **bias)
        digest, times = hashlib.sha256(), []
        for _ in range(12):
            atoms.positions += moves.normal(0, 1e-3, atoms.positions.shape)
            began = time.process_time()
            forces = atoms.get_forces()
            times.append(time.process_time() - began)
            digest.update(forces.tobytes())
        return 1e3 * float(np.median(times[2:])), digest.hexdigest()

    def walker() -> tuple[float, str]:
        calculator = BiasedCalculator(mlip(), surrogate, tau_rel=TauRule(0.3, delay=2))
        digest, began = hashlib.sha256(), time.process_time()
        for step in run_walker(
            start,
            calculator,
            n_steps=n_steps,
            temperature_K=500.0,
            rng=np.random.default_rng(3),
            triggers=[ForceTrigger(1e9)],
            check_interval=10,
        ):
            digest.update(step.atoms.positions.tobytes())
        return 1e3 * (time.process_time() - began) / n_steps, digest.hexdigest()

    calibrated = {"calibrated": True} if "calibrated" in fields_of(RelativeForceTrigger) else {}

    def checked(every: int) -> tuple[float, str]:
        calculator = BiasedCalculator(mlip(), surrogate, tau_rel=TauRule(0.3, delay=2))
        digest, times, began = hashlib.sha256(), [], time.process_time()
        for step in run_walker(
            start,
            calculator,
            n_steps=n_steps,
            temperature_K=500.0,
            rng=np.random.default_rng(3),
            triggers=[RelativeForceTrigger(1e9, **calibrated)],
            check_interval=every,
        ):
            times.append(time.process_time() - began)
            digest.update(step.atoms.positions.tobytes())
            began = time.process_time()
        return 1e3 * float(np.median(times[2:])), digest.hexdigest()

    def check() -> tuple[float, str]:
        (with_check, digest), (without, _) = checked(1), checked(10 * n_steps)
        return with_check - without, digest

    return {
        "checked step": lambda: checked(1),
        "check": check,
        "tau": lambda: steps(tau=0.5),
        "tau_rel": lambda: steps(tau_rel=TauRule(0.3, delay=2)),
        "walker": walker,
    }


def fields_of(dataclass: Any) -> set[str]:
    return set(dataclass.__dataclass_fields__)


def _tiny_mace() -> tuple[Callable[..., Any], Any]:
    try:
        from helpers.mace_models import mace_calculator, tiny_mace
    except ImportError:  # before the tests had helpers
        from mace_models import mace_calculator, tiny_mace
    return mace_calculator, tiny_mace(["Si"])


def serve(model: str) -> None:
    """Do each job that is asked for."""
    import torch

    torch.set_num_threads(1)
    known = jobs(model)
    answer(lambda way: known[way]())


def compare(other: Path, model: str, repeats: int, ways: Sequence[str]) -> None:
    """Print a row of the table for each way."""
    sides = [Side(checkout, __file__, ["--serve", model]) for checkout in (other, HERE)]
    for side in sides:
        for way in ways:
            side.ask(way)  # imports, compilation, first allocations
    for way in ways:
        pairs = in_turns(sides, [way] * repeats)
        times = [[ms for ms, _ in pair] for pair in pairs]
        digests = {digest for pair in pairs for _, digest in pair}
        theirs, ours = np.median(times, axis=0)
        ratios = np.divide(*np.transpose(times)[::-1])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        same = "yes" if len(digests) == 1 else "no"
        spread = f"{middle:.3f} | {low:.3f} to {high:.3f}"
        print(f"| {model}, {way} | {theirs:.2f} | {ours:.2f} | {spread} | {same} |", flush=True)
    for side in sides:
        side.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--repeats", type=int, default=16)
    parser.add_argument("--models", nargs="+", default=["ace", "mace"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    print(f"{machine_line()}\n", flush=True)
    print("| way | other, ms a step | this, ms a step | ratio | quartiles | same bits |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        compare(arguments.other.resolve(), model, arguments.repeats, arguments.ways)


if __name__ == "__main__":
    main()
