"""Five elements from `bayesel init` to a report, beside two elements of the same degree.

    python benchmarks/five_elements.py [--steps 500]

Both campaigns are what `bayesel init` writes for labels by EMT; that of two elements (full basis)
gets the total degree of the five. Time is that of `init`, `run` and `report`, start-up included:
on the wall, and CPU seconds of all processes. Errors are of the exported potentials, on frames of
unbiased MD by EMT of their own elements: from the starts of the campaign with their sites
shuffled, at its temperature; and 32 atoms of random composition, 300 to 1500 K, lattice constants
within -3 to +5 % (`many_elements.dynamics`).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _timing import machine_line, markdown_table
from many_elements import (
    CASES,
    KEYS,
    TARGET_ENERGY_MEV,
    TARGET_FEATURES,
    TARGET_FORCE_RATIO,
    dynamics,
)

COMMAND = "from ase_bayesel.cli import app; app()"
TARGET_MINUTES = 10.0
COPIES, FRAMES, STEPS = 5, 3, 100
"""Shuffled copies of each start, frames of each, and steps before each frame."""
HEADER = ["elements", "T", "features", "labels", "wall, s", "CPU, s"]
HEADER += ["energy, meV/atom", "forces, meV/A", "wide: energy", "wide: forces"]


@dataclass(frozen=True)
class Outcome:
    """A campaign: its basis, labels and seconds, and errors (meV/atom, meV/A) by kind of frame."""

    elements: tuple[str, ...]
    degree: int
    n_features: int
    n_labels: int
    wall_s: float
    cpu_s: float
    own: tuple[float, float]
    wide: tuple[float, float]

    @property
    def row(self) -> list[object]:
        """Of the table."""
        names = ", ".join(self.elements)
        size = [names, self.degree, self.n_features, self.n_labels]
        return [*size, self.wall_s, self.cpu_s, *self.own, *self.wide]


def bayesel(folder: Path, *arguments: str) -> None:
    """The command, in a process of its own; what it prints goes to standard error."""
    line = [sys.executable, "-c", COMMAND, *arguments]
    subprocess.run(line, cwd=folder, stdout=sys.stderr, check=True)


def put(config: Path, key: str, value: int) -> None:
    """Change a whole number of a config."""
    text, n_found = re.subn(rf"(?m)^( *{key}: )\d+", rf"\g<1>{value}", config.read_text())
    if n_found != 1:
        raise SystemExit(f"{config}: has {key} {n_found} times")
    config.write_text(text)


def campaign(folder: Path, case: str, degree: int | None, steps: int | None) -> Outcome:
    """Run one to its report, and measure what it exports."""
    from ase_bayesel import Surrogate
    from ase_bayesel.campaign.config.loading import load_config
    from ase_bayesel.campaign.store import Store

    config, elements = folder / f"{case}.yaml", CASES[case]
    start, used = time.perf_counter(), _cpu_s()
    bayesel(folder, "init", config.name, "--elements", ",".join(elements), "--engine", "emt")
    for key, value in {"totaldegree": degree, "steps": steps}.items():
        if value is not None:
            put(config, key, value)
    bayesel(folder, "run", config.name)
    bayesel(folder, "report", config.name)
    wall, cpu = time.perf_counter() - start, _cpu_s() - used
    bayesel(folder, "export", config.name, "-o", f"{case}.npz")
    surrogate = Surrogate.load(folder / f"{case}.npz")
    settings = load_config(config)
    temperature = settings.explore.temperature_K
    assert isinstance(temperature, float)
    return Outcome(
        elements,
        surrogate.descriptor.totaldegree,
        surrogate.descriptor.n_features,
        Store(folder / f"{case}_campaign").labels.counts().labels,
        wall,
        cpu,
        errors(surrogate, own_frames(folder / f"{case}_starts.extxyz", temperature)),
        errors(surrogate, dynamics(elements, 25, 2)),
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def own_frames(starts: Path, temperature_K: float) -> list[Any]:
    """Labelled frames of MD from shuffled copies of the starts."""
    import numpy as np
    from ase import units
    from ase.calculators.emt import EMT
    from ase.io import read
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import thermalize_momenta

    frames = []
    for number, copy in enumerate(a.copy() for a in read(starts, ":") for _ in range(COPIES)):
        rng = np.random.default_rng([3, number])
        copy.symbols = rng.permutation(copy.symbols)
        copy.calc = EMT()
        hot = {"temperature_K": temperature_K, "rng": rng}
        thermalize_momenta(copy, **hot)
        walk = Langevin(copy, 2.0 * units.fs, friction=0.02, fixcm=False, **hot)
        for _ in range(FRAMES):
            walk.run(STEPS)
            frame = copy.copy()
            frame.info[KEYS[0]] = copy.get_potential_energy()
            frame.arrays[KEYS[1]] = copy.get_forces()
            frames.append(frame)
    return frames


def errors(surrogate: Any, frames: Sequence[Any]) -> tuple[float, float]:
    """Root mean square errors of energies (meV/atom) and forces (meV/A)."""
    import numpy as np

    calculator = surrogate.calculator()
    energies, forces = [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energies.append((atoms.get_potential_energy() - frame.info[KEYS[0]]) / len(atoms))
        forces.append(atoms.get_forces() - frame.arrays[KEYS[1]])
    return tuple(1e3 * float(np.sqrt(np.mean(np.square(wrong)))) for wrong in (energies, forces))


def verdicts(five: Outcome, two: Outcome) -> list[str]:
    """Each thing that is wanted, what is there, and whether it will do."""
    ratio = five.own[1] / two.own[1]
    found = {
        "minutes on the wall": (five.wall_s / 60.0, TARGET_MINUTES),
        "CPU minutes": (five.cpu_s / 60.0, TARGET_MINUTES),
        "features": (float(five.n_features), float(TARGET_FEATURES)),
        "energy error, meV/atom": (five.own[0], TARGET_ENERGY_MEV),
        "force error over that of two elements": (ratio, TARGET_FORCE_RATIO),
        "the same on the wide frames": (five.wide[1] / two.wide[1], TARGET_FORCE_RATIO),
    }
    return [
        f"* {what}: {value:.3g}, wanted below {limit:g}: {'yes' if value < limit else 'no'}"
        for what, (value, limit) in found.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, help="of each walker and round, to see that all runs")
    options = parser.parse_args(arguments)
    before = machine_line()
    with tempfile.TemporaryDirectory() as dropped:
        five = campaign(Path(dropped), "five", None, options.steps)
        two = campaign(Path(dropped), "two", five.degree, options.steps)
    niceness = os.nice(0)
    print(f"{before}; niceness {niceness}\n\n{markdown_table(HEADER, [five.row, two.row])}\n")
    print("\n".join(verdicts(five, two)))


if __name__ == "__main__":
    main()
