"""Train a MACE on the silicon set of 2018, for the reproduction to pick with its features.

    OMP_NUM_THREADS=1 python scripts/paper_mace.py --data data/si2018 --train core
    OMP_NUM_THREADS=1 python scripts/paper_mace.py --data data/si2018 --train all

Writes OUT/core.model or OUT/all.model by mace's own training command, and beside it a .json of the
architecture, the minutes of training and the errors on the core and on the surface structures.
Energies and forces of float32, one thread; what mace prints is in the .log.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from paper_refit import SiliconSet
from rich.progress import Progress
from silicon_fit import KEYS

from ase_bayesel.resources.commands import run_command
from ase_bayesel.resources.threads import cpu_threads
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.labels import targets
from ase_bayesel.structures.reference_energies import reference_energies

ARCHITECTURE = {
    "r_max": 5.0,
    "num_interactions": 2,
    "num_channels": 32,
    "max_L": 0,
    "max_ell": 3,
    "correlation": 3,
}
LAST_PART = 0.6
"""From this part of the epochs on energies weigh more (mace's second stage)."""


def train(frames: Sequence[Atoms], e0: float, name: str, epochs: int, out: Path) -> None:
    """Train OUT/NAME.model on labelled structures."""
    kept = [atoms for atoms in frames if len(atoms) > 1]
    order = np.random.default_rng(2018).permutation(len(kept))
    n_valid = len(kept) // 20
    files = {"valid": order[:n_valid], "train": order[n_valid:]}
    folder = out / f"{name}_training"
    folder.mkdir(parents=True, exist_ok=True)
    for part, indices in files.items():
        write_frames(folder / f"{part}.extxyz", [kept[k] for k in indices])
    options = ARCHITECTURE | {
        "name": name,
        "work_dir": folder,
        "model_dir": folder,
        "train_file": folder / "train.extxyz",
        "valid_file": folder / "valid.extxyz",
        "energy_key": KEYS.energy,
        "forces_key": KEYS.forces,
        "E0s": {14: e0},
        "batch_size": 4,
        "valid_batch_size": 8,
        "max_num_epochs": epochs,
        "start_swa": round(LAST_PART * epochs),
        "ema_decay": 0.99,
        "lr": 0.01,
        "swa_lr": 0.001,
        "swa_energy_weight": 1000,
        "default_dtype": "float32",
        "device": "cpu",
        "plot": False,
        "seed": 1,
    }
    command = [sys.executable, "-m", "mace.cli.run_train", "--ema", "--swa"]
    command += [f"--{key}={value}" for key, value in options.items()]
    environment = {"PYTHONWARNINGS": "ignore", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    with Progress() as bar:
        task = bar.add_task(f"training MACE ({name})", total=epochs)
        for line in run_command(command, out / f"{name}.log", environment=environment):
            if "Epoch" in line:
                bar.advance(task)
    (folder / f"{name}_stagetwo.model").replace(out / f"{name}.model")


def errors(model: Path, structures: SiliconSet) -> Mapping[str, float]:
    """Root mean square errors on the core and on the pool: meV/atom and meV/A."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(model), device="cpu", default_dtype="float32")
    found = {}
    for part, frames in (("core", structures.core), ("pool", structures.pool)):
        energies, forces = [], []
        for atoms in (atoms for atoms in frames if len(atoms) > 1):
            known = targets(atoms, KEYS, part)
            energies.append((calculator.get_potential_energy(atoms) - known.energy) / len(atoms))
            forces.append((calculator.get_forces(atoms) - known.forces).ravel())
        found[f"{part}: energy RMSE (meV/atom)"] = 1e3 * float(
            np.sqrt(np.mean(np.square(energies)))
        )
        found[f"{part}: force RMSE (meV/A)"] = 1e3 * float(
            np.sqrt(np.mean(np.concatenate(forces) ** 2))
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="core and surfaces.extxyz")
    parser.add_argument("--train", choices=("core", "all"), required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("reproduction"))
    options = parser.parse_args()
    structures = SiliconSet.read(options.data)
    frames = structures.core if options.train == "core" else structures.frames
    e0 = reference_energies(structures.core, "isolated", KEYS.energy)["Si"]
    start = time.perf_counter()
    with cpu_threads(1):
        train(frames, e0, options.train, options.epochs, options.out)
        minutes = (time.perf_counter() - start) / 60.0
        model = options.out / f"{options.train}.model"
        record = ARCHITECTURE | {"epochs": options.epochs, "minutes": minutes}
        record |= errors(model, structures)
    model.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    for name, value in record.items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main()
