"""Other packages beside this one, each in an environment of its own, in interleaved turns.

    python benchmarks/rivals.py --environment ace-jax=PYTHON --environment ase-uhal=PYTHON

* ace-jax: linear ACE of the same basis and coefficients, which `write_ace_model` hands over
  (silicon, order 3), and our biased calculator beside it.
* ase-uhal: HAL with a committee of ten on the invariants of the same MACE model of random weights,
  and our biased calculator with the exact posterior.

PYTHON is the interpreter of an environment with the rival; ASE_BAYESEL_ENVIRONMENTS may hold the
same pairs, with commas between. A rival that has none is named. Energy + forces through ASE: CPU
seconds of all threads of a process that is held on one core, median of calls at positions that
change; the ratio is the median over pairs of turns (ABBA).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _sides import HERE, Side, answer, in_turns
from _timing import machine_line, markdown_table, use_one_thread

VARIABLE = "ASE_BAYESEL_ENVIRONMENTS"
RIVALS = {"ace-jax": ("ace", "ace biased"), "ase-uhal": ("mace biased",)}
"""Ways of ours that a rival is compared with."""
N_CALLS, TAU, COMMITTEE = 5, 0.1, 10


def environments(pairs: Sequence[str]) -> dict[str, str]:
    """Interpreters by the name of a rival: from ``rival=PYTHON``, before those of the variable."""
    named = [*filter(None, os.environ.get(VARIABLE, "").split(",")), *pairs]
    found = {}
    for pair in named:
        name, _, python = pair.partition("=")
        if not Path(python).is_file():
            raise SystemExit(f"environment {pair!r}: expected NAME=PYTHON, an interpreter's file")
        found[name] = python
    return found


# a process of one side


def calculator(way: str, folder: Path) -> Any:
    """What is timed; models are read from the folder's files."""
    if way == "ace-jax":
        from ace_jax import ACECalculator

        return ACECalculator(str(folder / "ace.npz"))
    if way == "ase-uhal":
        from ase_uhal.bias_calculators import HALBiasCalculator
        from ase_uhal.committee_calculators.mace_committee_calculator import MACEHALCalculator

        committee = MACEHALCalculator(_mace(folder), COMMITTEE, 1.0, random_seed=0)
        biased = HALBiasCalculator(_mace(folder), committee)
        biased.resample_committee()
        committee.committee_weights = committee.committee_weights.double()
        biased.tau = TAU
        return biased
    from ase_bayesel import BiasedCalculator, MACEDescriptor, Posterior, Surrogate
    from ase_bayesel.surrogate.design import Noise
    from ase_bayesel.surrogate.exchange import read_ace_model

    if way == "mace biased":
        descriptor = MACEDescriptor(_mace(folder))
        prior = Posterior.isotropic(descriptor.n_features, 1.0)
        return BiasedCalculator(_mace(folder), Surrogate(descriptor, prior, {}, Noise()), tau=TAU)
    surrogate = read_ace_model(folder / "ace.npz")
    mean = surrogate.calculator()
    return mean if way == "ace" else BiasedCalculator(mean, surrogate, tau=TAU)


def _mace(folder: Path) -> Any:
    import torch

    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 needs it before its import
    from mace.calculators import MACECalculator

    return MACECalculator(
        model_paths=str(folder / "mace.model"), device="cpu", default_dtype="float64"
    )


def calls(way: str, folder: Path) -> Callable[[str], float]:
    """Median CPU ms of a call with so many atoms."""
    import numpy as np
    from ase.build import bulk
    from ase.calculators.calculator import all_changes

    warnings.simplefilter("ignore")
    timed = calculator(way, folder)

    def call(line: str) -> float:
        atoms = bulk("Si", cubic=True, a=5.46).repeat([int(k) for k in line.split()])
        rng, seconds = np.random.default_rng(0), []
        atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
        for _ in range(N_CALLS):
            atoms.positions += rng.normal(0.0, 1e-3, atoms.positions.shape)
            start = time.process_time()
            timed.calculate(atoms, ["energy", "forces"], all_changes)
            seconds.append(time.process_time() - start)
        return 1e3 * float(np.median(seconds))

    return call


# the comparison


def write_models(folder: Path, totaldegree: int, channels: int) -> None:
    """``ace.npz`` and, where MACE is installed, ``mace.model``."""
    from ace import ace_surrogate

    from ase_bayesel.surrogate.exchange import write_ace_model

    write_ace_model(ace_surrogate(totaldegree), folder / "ace.npz")
    if find_spec("mace") is not None:
        sys.path.insert(0, str(HERE / "tests"))
        from helpers.mace_models import save_model, tiny_mace

        sizes = {"cutoff": 5.0, "correlation": 3, "radial": (64, 64, 64)}
        with redirect_stdout(sys.stderr):  # what mace prints when it is imported
            model = tiny_mace(["Si"], f"{channels}x0e+{channels}x1o", **sizes)
        save_model(model, folder / "mace.model")


def compare(
    folder: Path, rival: str, python: str, repeats: Sequence[int], turns: int
) -> list[list[object]]:
    """Rows of the table: atoms, the way, ms of both, and ours over theirs."""
    import numpy as np

    script, folded, rows = str(Path(__file__).resolve()), ["--folder", str(folder), "--serve"], []
    for way in RIVALS[rival]:
        ours = Side(HERE, script, [*folded, way])
        theirs = Side(HERE, script, [*folded, rival], python)
        for repeat in repeats:
            line = f"{repeat} {repeat} {repeat}"
            in_turns((ours, theirs), [line])  # compilation, first allocations
            pairs = in_turns((ours, theirs), [line] * turns)
            ratio = float(np.median(np.divide(*np.transpose(pairs))))
            rows.append([rival, way, 8 * repeat**3, *np.median(pairs, axis=0).tolist(), ratio])
        ours.close()
        theirs.close()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", action="append", default=[], metavar="RIVAL=PYTHON")
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 2, 3], help="of the cell")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--totaldegree", type=int, default=16)
    parser.add_argument("--channels", type=int, default=64, help="of the MACE model")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    use_one_thread()
    if options.serve:
        if hasattr(os, "sched_setaffinity"):  # JAX starts as many threads as it sees cores
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        answer(calls(options.serve, options.folder))
        return
    found = environments(options.environment)
    print(machine_line() + "\n", flush=True)
    rows = []
    with TemporaryDirectory() as name:
        write_models(folder := Path(name), options.totaldegree, options.channels)
        for rival in RIVALS:
            if rival in found:
                turns = options.repeats, options.turns
                rows += compare(folder, rival, found[rival], *turns)
            else:
                print(f"{rival}: skipped, no environment (--environment {rival}=PYTHON)\n")
    header = ["rival", "ours", "atoms", "ours, ms", "rival, ms", "ours over rival"]
    if rows:
        channels = f"{options.channels}x0e+{options.channels}x1o"
        print(f"Linear ACE: T = {options.totaldegree}. MACE: {channels}, r = 5 A, float64.\n")
        print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
