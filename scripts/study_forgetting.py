"""What a fine-tuned MACE model forgets, by the ways of fine-tuning.

    python scripts/study_forgetting.py run      # some minutes on one core
    python scripts/study_forgetting.py report   # docs/how-to/improve_a_foundation_model.md

A small model learns crystals of copper, gold and their alloys, labelled by EMT. Clusters of copper
are then what it is fine-tuned on, in each way of `WAYS` from the same model and for as many
epochs. The errors are those of structures that no training saw.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from ase_bayesel.campaign.refit import LoRA, MACERefitter, MultiHead, RefitTask
from ase_bayesel.campaign.refit.forgetting import PT_HEAD
from ase_bayesel.resources.commands import run_command
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.steps import Steps

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "forgetting.json"
PAGE = ROOT / "docs" / "how-to" / "improve_a_foundation_model.md"
BEGIN, END = "<!-- written by scripts/study_forgetting.py report -->\n", "<!-- end -->\n"
KEYS = PropertyKeys("REF_energy", "REF_forces")
N_OLD, N_NEW, N_REPLAY, N_TEST = 60, 20, 30, 30
FIRST_EPOCHS, EPOCHS = 60, 60
PLAIN = MACERefitter(
    max_epochs=EPOCHS, checkpoint_epochs=EPOCHS, learning_rate=3e-3, energy_weight=100.0
)
MULTIHEAD = "multi-head with replay"


def ways(replay: Path) -> dict[str, MACERefitter]:
    """The ways of fine-tuning, by the names of the table."""
    multihead = MultiHead(replay)
    return {
        "nothing else": PLAIN,
        "`freeze: 5`": replace(PLAIN, freeze=5),
        "`freeze: 6`": replace(PLAIN, freeze=6),
        "`lora: {rank: 4, alpha: 4}`": replace(PLAIN, lora=LoRA(4, 4.0)),
        MULTIHEAD: replace(PLAIN, multihead=multihead),
        "multi-head and `freeze: 5`": replace(PLAIN, multihead=multihead, freeze=5),
    }


def crystals(number: int, seed: int) -> list[Atoms]:
    """Rattled and strained cells of four atoms, copper, gold or both."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(number):
        symbols = rng.choice(["Cu", "Au"], 4, p=rng.choice([[1, 0], [0, 1], [0.5, 0.5]]))
        a = np.mean([{"Cu": 3.6, "Au": 4.06}[symbol] for symbol in symbols])
        atoms = bulk("Cu", cubic=True, a=a)
        atoms.symbols = symbols
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        frames.append(labelled(atoms))
    return frames


def clusters(number: int, seed: int) -> list[Atoms]:
    """Nine to sixteen atoms of copper about a random point of the crystal, rattled."""
    rng = np.random.default_rng(seed)
    crystal = bulk("Cu", cubic=True, a=3.6) * (3, 3, 3)
    frames = []
    for _ in range(number):
        middle = crystal.cell[:].sum(axis=0) * 0.5 + rng.uniform(-0.9, 0.9, 3)
        nearest = np.argsort(np.linalg.norm(crystal.positions - middle, axis=1))
        atoms = Atoms(crystal[nearest[: rng.integers(9, 17)]], cell=np.zeros((3, 3)), pbc=False)
        atoms.rattle(0.2, rng=rng)
        frames.append(labelled(atoms))
    return frames


def labelled(atoms: Atoms) -> Atoms:
    """With EMT's energy and forces."""
    atoms.calc = EMT()
    atoms.info[KEYS.energy] = atoms.get_potential_energy()
    atoms.arrays[KEYS.forces] = atoms.get_forces()
    atoms.calc = None
    return atoms


def first_model(folder: Path, e0s: Mapping[int, float]) -> Path:
    """A small model by mace's own command, trained on the crystals."""
    write_frames(folder / "old.extxyz", crystals(N_OLD, 1))
    options = {
        "name": "first",
        "work_dir": folder,
        "model_dir": folder,
        "train_file": folder / "old.extxyz",
        "valid_fraction": 0.1,
        "energy_key": KEYS.energy,
        "forces_key": KEYS.forces,
        "E0s": e0s,
        "r_max": 4.5,
        "num_channels": 16,
        "max_L": 0,
        "max_ell": 2,
        "correlation": 2,
        "batch_size": 5,
        "valid_batch_size": 5,
        "max_num_epochs": FIRST_EPOCHS,
        "lr": 0.01,
        "energy_weight": 10,
        "forces_weight": 100,
        "default_dtype": "float64",
        "device": "cpu",
        "plot": False,
        "seed": 1,
    }
    command = [sys.executable, "-m", "mace.cli.run_train"]
    command += [f"--{name}={value}" for name, value in options.items()]
    environment = {"PYTHONWARNINGS": "ignore", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    for _ in run_command(command, folder / "training.log", environment=environment):
        continue
    return folder / "first.model"


def errors(
    model: Path, head: str | None, tests: Mapping[str, Sequence[Atoms]]
) -> dict[str, list[float]]:
    """Root mean square errors by kind: meV/atom of energies, meV/A of forces."""
    from ase_bayesel.descriptors.mace.loading import mace_calculator

    calculator = mace_calculator(model, head, "float64", "cpu")
    return {kind: _rmse(calculator, frames) for kind, frames in tests.items()}


def _rmse(calculator: Calculator, frames: Sequence[Atoms]) -> list[float]:
    off_energy, off_forces = [], []
    for atoms in frames:
        energy = calculator.get_potential_energy(atoms) - atoms.info[KEYS.energy]
        off_energy.append(energy / len(atoms))
        off_forces.append((calculator.get_forces(atoms) - atoms.arrays[KEYS.forces]).ravel())
    both = (np.array(off_energy), np.concatenate(off_forces))
    return [1000 * float(np.sqrt(np.mean(values**2))) for values in both]


def study(folder: Path) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """The errors of the first model and of each way, by name."""
    e0s = {one: float(labelled(Atoms(one)).info[KEYS.energy]) for one in ("Cu", "Au")}
    first = first_model(folder, {29: e0s["Cu"], 79: e0s["Au"]})
    tests = {"old": crystals(N_TEST, 2), "new": clusters(N_TEST, 3)}
    yield "before", errors(first, None, tests)
    write_frames(folder / "replay.extxyz", crystals(N_REPLAY, 4))
    for number, (name, refitter) in enumerate(ways(folder / "replay.extxyz").items()):
        task = RefitTask(*(clusters(N_NEW, 5), N_NEW, KEYS, e0s, first, folder / f"way{number}", 7))
        steps = Steps(refitter.refit(task))
        for _ in steps:
            continue
        head = "Default" if refitter.multihead else None
        yield name, errors(steps.value, head, tests)
        if name == MULTIHEAD:
            yield f"the same model, its `{PT_HEAD}`", errors(steps.value, PT_HEAD, tests)


def table(results: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The errors as Markdown."""
    lines = [
        "| beside the training | crystals: meV/atom | meV/Å | clusters: meV/atom | meV/Å |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, found in results.items():
        numbers = [*found["old"], *found["new"]]
        lines.append(f"| {name} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")
    return "\n" + "\n".join(lines) + "\n\n"


def write_page(results: Mapping[str, Mapping[str, Sequence[float]]], page: Path) -> str:
    """Write the table between the markers of the page; returns it."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + table(results) + END + after)
    return table(results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the errors")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    options = parser.parse_args(arguments)
    if options.command == "report":
        print(write_page(json.loads(options.results.read_text()), options.page))
        return 0
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, found in study(Path(folder)):
            results[name] = found
            print(name, found, flush=True)
    options.results.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
