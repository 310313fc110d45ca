"""Linear ACE of five elements with an embedding beside one element, of the same total degree.

    python benchmarks/element_cost.py [--totaldegree 12] [--compiled]

Microseconds of CPU time of one thread per atom and step, energy + forces through ASE, in 32 fcc
atoms of the same positions: one element, and five of random composition by the number of channels
(cost 3), the mean's calculator and `BiasedCalculator` at a fixed tau; ratios are to one element.
Means are drawn from the prior, since what they are changes no time. The last columns are what the
posterior costs beside that: microseconds per atom of its product with one row. Ways are taken in
turns. Compiled passes (extra ``fast``) where asked for.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from functools import partial
from typing import Any

import numpy as np
from _timing import interleaved, machine_line, markdown_table, use_one_thread

ELEMENTS = ("Cu", "Ag", "Au", "Ni", "Pd")
CELLS_OF_FOUR, A = 2, 3.9
N_FRAMES = 5
HEADER = ["elements", "channels", "features", "step", "ratio", "biased step", "ratio"]


def frames_of(elements: tuple[str, ...]) -> list[Any]:
    """Rattled fcc cells of random composition, with the same positions for all elements."""
    from ase.build import bulk

    frames, rng = [], np.random.default_rng(0)
    for _ in range(N_FRAMES):
        atoms = bulk("Cu", cubic=True, a=A).repeat(CELLS_OF_FOUR)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        numbers = rng.integers(0, len(ELEMENTS), len(atoms))
        atoms.symbols = [elements[n % len(elements)] for n in numbers]
        frames.append(atoms)
    return frames


def surrogate_of(elements: tuple[str, ...], channels: int | None, degree: int) -> Any:
    """A surrogate with a mean drawn from its prior."""
    from ase_bayesel import ACEDescriptor
    from ase_bayesel.surrogate.design import Noise
    from ase_bayesel.surrogate.posterior import Posterior
    from ase_bayesel.surrogate.surrogate import Surrogate

    descriptor = ACEDescriptor(elements, 3, degree, embedding=channels)
    prior = Posterior.from_prior(descriptor.prior_std())
    mean = prior.sample(1, np.random.default_rng(0))[0]
    posterior = Posterior(prior.precision_factor.copy(), mean)
    return Surrogate(descriptor, posterior, dict.fromkeys(elements, 0.0), Noise())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--totaldegree", type=int, default=12)
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled", action="store_true", help="compiled passes")
    options = parser.parse_args()
    use_one_thread()
    os.environ["BAYESEL_COMPILED"] = "1" if options.compiled else "0"
    from ase_bayesel import BiasedCalculator

    calls, sizes = {}, {}
    for elements, channels in ((ELEMENTS[:1], None), *((ELEMENTS, n) for n in options.channels)):
        frames, key = frames_of(elements), (len(elements), channels)
        surrogate = surrogate_of(elements, channels, options.totaldegree)
        row = surrogate.descriptor.compute(frames[0])[0].total
        sizes[key] = (len(row), len(frames[0]))
        ways = {
            "step": surrogate.calculator(),
            "biased": BiasedCalculator(surrogate.calculator(), surrogate, tau=0.1),
        }
        for name, calculator in ways.items():
            calls[*key, name] = partial(_step, calculator, itertools.cycle(frames))
        calls[*key, "posterior"] = partial(surrogate.posterior.covariance_times, row)
    seconds = interleaved(calls, options.rounds, 0.05, time.process_time)
    rows, one = [], [seconds[1, None, name] for name in ("step", "biased", "posterior")]
    for key, (n_features, n_atoms) in sizes.items():
        line: list[object] = [key[0], key[1] or "", n_features]
        for name, base in zip(("step", "biased", "posterior"), one, strict=True):
            line += [1e6 * seconds[*key, name] / n_atoms, seconds[*key, name] / base]
        rows.append(line)
    print(f"{machine_line()}\n\nT = {options.totaldegree}, compiled passes: ", end="")
    print(f"{'yes' if options.compiled else 'no'}.\n")
    print(markdown_table([*HEADER, "posterior", "ratio"], rows))


def _step(calculator: Any, frames: Any) -> None:
    calculator.calculate(next(frames), ["energy", "forces"])


if __name__ == "__main__":
    main()
