"""Does the bias find uncertain structures faster? Steps to the first trigger, information gained.

    python benchmarks/exploration.py [--seeds 20] [--steps 500] [--temperature 700]

A 16-atom cell of silicon and a linear ACE fitted to the 32 structures of
examples/silicon (GFN1-xTB). Each run is Langevin dynamics on the surrogate's mean,
biased or not, with the same start and the same random numbers. A trigger of fixed
threshold picks; a pick enters the posterior at once, without a label, and the run goes
on. Information is the rise of log det Sigma^-1 by the picks. A second table shows
what an absurd tau_rel does under the limits of `TauRule`. Writes the tables to
benchmarks/results/ and, with the figure, to docs/exploration.md unless told otherwise.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from _timing import machine, machine_line, markdown_table, use_one_thread

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "silicon"
PAGE, FIGURE = ROOT / "docs" / "exploration.md", ROOT / "docs" / "exploration.png"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- written by benchmarks/exploration.py -->\n", "<!-- end -->\n"
TIMESTEP_FS, FRICTION_PER_FS, CHECK_INTERVAL, EPS = 2.0, 0.02, 5, 0.5
HEADER = [
    "way",
    "runs that picked",
    "first trigger: median",
    "mean",
    "least-most",
    "picks per 1,000 steps",
    "information per 1,000 steps",
    "per pick",
    "mean T, K",
    "stopped",
]

STRONG_SEEDS = 3
STRONG_HEADER = [
    "force_max, eV/A",
    "max_excess_temperature",
    "ended as (last step)",
    "largest bias force, eV/A",
    "mean T, K",
    "thermostat warning at step",
]


class Run(NamedTuple):
    """One trajectory: ``gained`` after each step; ``first`` is None where nothing fired."""

    first: int | None
    gained: list[float]
    picks: int
    temperature_K: float
    status: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--temperature", type=float, default=700.0)
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--only-print", action="store_true", help="write no files")
    arguments = parser.parse_args()
    use_one_thread()

    import torch

    torch.set_num_threads(1)
    began = time.process_time()
    surrogate, start = _system()
    runs: dict[str, list[Run]] = {}
    for name, way in _ways().items():
        runs[name] = [
            _run(surrogate, start, way, seed, arguments) for seed in range(arguments.seeds)
        ]
        print(markdown_table(HEADER, [_row(name, runs[name], arguments.steps)]), flush=True)
    strong = [
        _strong(surrogate, start, *way, arguments) for way in ((1e9, 1e9), (5.0, 1e9), (5.0, 1.0))
    ]
    text = _report(
        runs, strong, surrogate.descriptor.n_features, arguments, time.process_time() - began
    )
    print(text)
    if arguments.only_print:
        return
    path = RESULTS / f"exploration_{machine()['date']}.md"
    path.write_text(f"# Exploration with and without bias\n\n{text}")
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}{text}{END}{rest.split(END)[1]}")
    _draw(runs, arguments.steps, FIGURE)


def _ways():
    """Kind of bias, tau_rel and factor of the temperature."""
    from ase_bayesel import Deviation, Variance

    return {
        "unbiased": (Deviation(), 0.0, 1.0),
        "unbiased, 1.4 times as hot": (Deviation(), 0.0, 1.4),
        "sigma_E, tau_rel 0.1": (Deviation(), 0.1, 1.0),
        "sigma_E, tau_rel 0.2": (Deviation(), 0.2, 1.0),
        "sigma_E, tau_rel 0.4": (Deviation(), 0.4, 1.0),
        "sigma_E^2, tau_rel 0.2": (Variance(), 0.2, 1.0),
    }


def _system():
    """The surrogate, and the start: the perfect lattice with displacements of 0.01 A."""
    from ase_bayesel import ACEDescriptor, fit_surrogate
    from ase_bayesel.structures.frames import read_frames

    train = [*read_frames(EXAMPLE / "initial.extxyz"), *read_frames(EXAMPLE / "test.extxyz")]
    descriptor = ACEDescriptor(["Si"], order=2, totaldegree=10, cutoff=5.0)
    surrogate = fit_surrogate(
        train, descriptor, energy_key="REF_energy", forces_key="REF_forces", virial_key=None
    )
    return surrogate, read_frames(EXAMPLE / "starts.extxyz")[0]


def _run(surrogate, start, way, seed: int, arguments) -> Run:
    import numpy as np

    from ase_bayesel import BiasedCalculator, Langevin, RelativeForceTrigger, run_walker

    bias, tau_rel, hotter = way
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau_rel=tau_rel, bias=bias)
    before = surrogate.posterior.logdet
    first, gained, picks, temperatures, status = None, [], 0, [], "running"
    for step in run_walker(
        start,
        calculator,
        n_steps=arguments.steps,
        temperature_K=hotter * arguments.temperature,
        rng=np.random.default_rng(seed),
        timestep_fs=TIMESTEP_FS,
        ensemble=Langevin(FRICTION_PER_FS),
        triggers=[RelativeForceTrigger(arguments.threshold, EPS)],
        check_interval=CHECK_INTERVAL,
    ):
        status = step.status
        if step.fired is not None:
            first, picks = first or step.step, picks + 1
            calculator.set_surrogate(calculator.surrogate.condition(step.atoms), keep_averages=True)
        gained.append(calculator.surrogate.posterior.logdet - before)
        temperatures.append(step.temperature_K)
    return Run(first, gained, picks, float(np.mean(temperatures)), status)


def _row(name: str, runs: Sequence[Run], n_steps: int) -> list[object]:
    """Runs without a pick are censored: they count as the whole length in median and mean."""
    import numpy as np

    first = np.array([n_steps if run.first is None else run.first for run in runs])
    picked = sum(run.first is not None for run in runs)
    per_1000 = np.array([1000.0 / (len(run.gained) - 1) for run in runs])
    gain = np.array([run.gained[-1] for run in runs])
    picks = np.array([run.picks for run in runs])
    more = "" if picked == len(runs) else ">= "
    median = (">= " if picked <= len(runs) / 2 else "") + f"{np.median(first):.0f}"
    stopped = sum(run.status != "running" for run in runs)
    return [
        name,
        f"{picked} of {len(runs)}",
        median,
        f"{more}{first.mean():.0f} ± {_error(first):.0f}",
        f"{first.min()}-{more}{first.max()}",
        f"{np.mean(picks * per_1000):.1f} ± {_error(picks * per_1000):.1f}",
        f"{np.mean(gain * per_1000):.1f} ± {_error(gain * per_1000):.1f}",
        f"{gain.sum() / max(picks.sum(), 1):.2f}",
        f"{np.mean([run.temperature_K for run in runs]):.0f}",
        stopped,
    ]


def _error(values) -> float:
    """Standard error of a mean."""
    import numpy as np

    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _strong(
    surrogate, start, force_max: float, max_excess_temperature: float, arguments
) -> list[object]:
    """What becomes of tau_rel = 50 under limits of tau; a row of the second table."""
    import numpy as np

    from ase_bayesel import BiasedCalculator, Langevin, TauRule, run_walker

    rule = TauRule(50.0, force_max=force_max, max_excess_temperature=max_excess_temperature)
    ends, strongest, temperatures, warned = [], 0.0, [], []
    for seed in range(STRONG_SEEDS):
        calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau_rel=rule)
        for step in run_walker(
            start,
            calculator,
            n_steps=arguments.steps,
            temperature_K=arguments.temperature,
            rng=np.random.default_rng(seed),
            timestep_fs=TIMESTEP_FS,
            ensemble=Langevin(FRICTION_PER_FS),
        ):
            forces = np.linalg.norm(step.prediction.bias_forces, axis=1)
            strongest = max(strongest, forces.max())
            temperatures.append(step.temperature_K)
            if step.warning and len(warned) == seed:
                warned.append(step.step)
        warned += [None] * (seed + 1 - len(warned))
        ends.append(f"{step.status} ({step.step})")
    limits = [
        "none" if limit > 1e8 else f"{limit:g}" for limit in (force_max, max_excess_temperature)
    ]
    told = ", ".join("-" if step is None else str(step) for step in warned)
    return [*limits, ", ".join(ends), f"{strongest:.1f}", f"{np.mean(temperatures):.0f}", told]


def _report(
    runs: dict[str, list[Run]],
    strong: Sequence[Sequence[object]],
    n_features: int,
    arguments,
    seconds: float,
) -> str:
    rows = [_row(name, own, arguments.steps) for name, own in runs.items()]
    return (
        f"{machine_line()}\n\n"
        f"16 atoms of silicon at {arguments.temperature:g} K, {arguments.seeds} seeds, runs of "
        f"{arguments.steps} steps of {TIMESTEP_FS:g} fs, friction {FRICTION_PER_FS:g}/fs; linear "
        f"ACE with {n_features} features; largest relative force uncertainty (eps {EPS:g} eV/A) "
        f"above {arguments.threshold:g}, every {CHECK_INTERVAL} steps. {seconds:.0f} s of CPU.\n\n"
        f"{markdown_table(HEADER, rows)}\n\n"
        "A run in which nothing fired is censored at its length, and enters the median, the mean "
        "and the range as that (>=). Means with their standard error over the seeds. Information "
        "is the rise of log det of the precision by all picks, in nats.\n\n"
        f"The same runs with tau_rel = 50, without triggers, {STRONG_SEEDS} seeds:\n\n"
        f"{markdown_table(STRONG_HEADER, strong)}\n"
    )


def _draw(runs: dict[str, list[Run]], n_steps: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
    steps = np.arange(n_steps + 1)
    n_biased = sum("sigma" in name for name in runs)
    biased = iter(plt.get_cmap("viridis")(np.linspace(0.1, 0.9, n_biased)))
    for name, own in runs.items():
        colour = next(biased) if "sigma" in name else "black"
        style = "--" if "hot" in name or "^2" in name else "-"
        label = re.sub(r"sigma_E(\^2)?", r"$\\sigma_E\1$", name)
        label = label.replace("tau_rel", r"$\tau_\mathrm{rel}$")
        first = np.array([np.inf if run.first is None else run.first for run in own])
        waiting = (first[:, None] > steps).mean(axis=0)
        left.step(steps, waiting, where="post", color=colour, ls=style, label=label)
        padded = [run.gained + [run.gained[-1]] * (n_steps + 1 - len(run.gained)) for run in own]
        mean, error = np.mean(padded, axis=0), np.std(padded, axis=0) / np.sqrt(len(own))
        right.plot(steps, mean, color=colour, ls=style, label=label)
        right.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
    left.set(xlabel="MD step", ylabel="runs without a trigger", ylim=(0, 1.02), xlim=(0, n_steps))
    right.set(xlabel="MD step", ylabel="information gained (nats)", xlim=(0, n_steps))
    right.set_ylim(bottom=0)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
