# ruff: noqa: E402
"""What barriers cost walkers in lock-step: blocks against one go, and a round trip to processes.

    OMP_NUM_THREADS=1 python benchmarks/lockstep.py

The first table is CPU time in this process, the second wall time of a barrier at which four
walkers have nothing to do: what processes add to each barrier, those of a pool (``processes``)
and of Dask (``local``) in turn.
"""

from __future__ import annotations

from _timing import interleaved, machine_line, markdown_table, use_one_thread

use_one_thread()

import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_bayesel import ACEDescriptor, BiasedCalculator, EnergyTrigger, fit_surrogate, run_walker
from ase_bayesel.campaign.exploration import RoundRules, explore_to_barriers, start_exploration
from ase_bayesel.campaign.exploration.blocks import WalkerPlan, WalkerSetup
from ase_bayesel.campaign.exploration.dask_workers import dask_executor
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.pool_workers import pool_executor
from ase_bayesel.dynamics.triggers import LazyCheck
from ase_bayesel.resources import LocalCluster, ProcessPool, open_client

CHECK_INTERVAL, N_STEPS, N_WALKERS = 5, 20, 4
NEVER = EnergyTrigger(1e9)
DEGREES = (8, 12)


def labelled(seed: int) -> Atoms:
    """A rattled copper cell with EMT's labels, or an isolated atom."""
    atoms = Atoms("Cu") if seed == 0 else bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.info["energy"], atoms.arrays["forces"] = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    return atoms


def made(degree: int, n_steps: int = N_STEPS) -> WalkerSetup:
    """Four walkers on linear ACE that never pick."""
    surrogate = fit_surrogate([labelled(k) for k in range(8)], ACEDescriptor("Cu", 3, degree, 4.5))
    run = partial(run_walker, n_steps=n_steps, temperature_K=300.0, check_interval=CHECK_INTERVAL)
    make = partial(BiasedCalculator, surrogate.calculator(), tau_rel=0.1)
    plan = WalkerPlan(run, bulk("Cu", cubic=True), (LazyCheck(NEVER),), n_steps)
    return WalkerSetup(surrogate, make, (plan,) * N_WALKERS, CHECK_INTERVAL, RoundRules())


def generators() -> list[np.random.Generator]:
    return np.random.default_rng(0).spawn(N_WALKERS)


def one_go(setup: WalkerSetup, start: Atoms) -> None:
    for plan, rng in zip(setup.plans, generators(), strict=True):
        calculator = setup.make_calculator(setup.surrogate)
        for _ in plan.run(start, calculator, rng=rng, triggers=[NEVER]):
            pass


def in_blocks(setup: WalkerSetup, start: Atoms) -> None:
    state = start_exploration([start] * N_WALKERS, generators())
    for _ in explore_to_barriers(state, setup.surrogate, setup, LocalExecutor(setup), 1):
        pass


@contextmanager
def opened():
    yield made(DEGREES[0])


def round_trips_s(start: Atoms) -> dict[str, float]:
    """Median wall seconds of a barrier for walkers that are at their last step."""
    from lockstep import opened  # not of __main__, which a pool does not import

    setup = made(DEGREES[0])
    state = start_exploration([start] * N_WALKERS, generators())
    at_end = {k: replace(w, step=N_STEPS) for k, w in enumerate(state.walkers)}
    with (
        open_client(LocalCluster(2)) as client,
        dask_executor(client, opened, "benchmark") as dask,
        pool_executor(ProcessPool(2), opened) as pool,
    ):
        calls = {
            name: partial(executor.advance, at_end, N_STEPS + CHECK_INTERVAL, setup.surrogate)
            for name, executor in {"pool": pool, "Dask": dask}.items()
        }
        return interleaved(calls, rounds=15)


def main() -> None:
    start = bulk("Cu", cubic=True) * (2, 2, 2)
    start.rattle(0.02, seed=1)
    print(f"{machine_line()}\n")
    rows = []
    for degree in DEGREES:
        setup = made(degree)
        calls = {
            "one go": partial(one_go, setup, start),
            "blocks": partial(in_blocks, setup, start),
        }
        found = interleaved(calls, rounds=5, clock=time.process_time)
        n_blocks = N_WALKERS * N_STEPS / CHECK_INTERVAL
        step_ms = 1e3 * found["one go"] / (N_WALKERS * N_STEPS)
        extra_ms = 1e3 * (found["blocks"] - found["one go"]) / n_blocks
        ratio = found["blocks"] / found["one go"]
        n_features = setup.surrogate.posterior.n_features
        rows.append([len(start), n_features, step_ms, extra_ms, ratio])
    header = ["atoms", "features", "step, ms", "extra per block, ms", "blocks / one go"]
    print(markdown_table(header, rows))
    print(f"\nBarrier of {N_WALKERS} idle walkers in two processes:\n")
    found = round_trips_s(start)
    times = [[name, 1e3 * seconds] for name, seconds in found.items()]
    print(markdown_table(["processes", "ms"], times))


if __name__ == "__main__":
    main()
