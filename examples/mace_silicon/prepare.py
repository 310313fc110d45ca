"""Training data and a small MACE model to start the campaigns of this folder from.

    python prepare.py                 # xTB labels its own structures, for config.yaml
    python prepare.py --data DIR      # the real silicon set of 2018, for si2018.yaml

With --data a linear ACE is fitted to all structures of the set and serves as the
teacher: it relabels the structures that are used here, and labels the picks. Two
to three minutes on one core, most of it the training of the MACE model.

The model file is then written as releases of mace-torch before 0.3.9 wrote theirs, as of
the foundation models of 2023 and 2024: the campaign reads it all the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from rich.progress import Progress

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.descriptors.mace.loading import load_module, module_bytes
from ase_bayesel.labelling.engines import Engine, SurrogateEngine, TBLiteEngine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.resources.commands import run_command
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

HERE = Path(__file__).parent
KEYS = PropertyKeys("REF_energy", "REF_forces")
N_TRAIN, N_TEST, N_STARTS = 40, 20, 3
EPOCHS = 40


def main() -> None:
    """Write train, test, starts (.extxyz), start.model and, with --data, teacher.npz."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of core.extxyz and surfaces.extxyz")
    parser.add_argument("--out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    real = arguments.data is not None
    out = arguments.out or HERE / ("si2018" if real else "xtb")
    out.mkdir(parents=True, exist_ok=True)
    if real:
        frames, starts, engine = from_silicon_set(arguments.data, out)
    else:
        frames, starts, engine = from_xtb()
    isolated = Atoms("Si", cell=[12.0] * 3)
    frames = labelled([isolated, *frames], engine, KEYS)
    write_frames(out / "train.extxyz", frames[: 1 + N_TRAIN])
    write_frames(out / "test.extxyz", frames[1 + N_TRAIN :])
    write_frames(out / "starts.extxyz", starts)
    train_mace(frames[1 : 1 + N_TRAIN], frames[0].info["REF_energy"], out)


def from_xtb() -> tuple[list[Atoms], list[Atoms], Engine]:
    """Rattled cells of 16 atoms at many volumes, those for the test as walkers at 900 K are."""
    rng = np.random.default_rng(2025)
    amplitudes = [*rng.uniform(0.02, 0.10, N_TRAIN), *rng.uniform(0.05, 0.09, N_TEST)]
    frames = [rattled(amplitude, rng.uniform(5.4, 6.0), rng) for amplitude in amplitudes]
    starts = [rattled(0.01, 5.7, rng) for _ in range(N_STARTS)]
    return frames, starts, TBLiteEngine({"electronic_temperature": 8000.0})


def rattled(amplitude: float, a: float, rng: np.random.Generator) -> Atoms:
    """A diamond cell of a lattice constant (A) with Gaussian displacements (A)."""
    atoms = bulk("Si", a=a) * (2, 2, 2)
    atoms.rattle(amplitude, rng=rng)
    return canonical(atoms)


def from_silicon_set(data: Path, out: Path) -> tuple[list[Atoms], list[Atoms], Engine]:
    """Cells of up to 16 atoms from the core set, and a teacher fitted to the whole set."""
    core = read_frames(data / "core.extxyz")
    everything = [*core, *read_frames(data / "surfaces.extxyz")]
    with Progress() as bar:
        task = bar.add_task("teacher", total=len(everything))
        teacher = fit_surrogate(
            everything,
            ACEDescriptor(["Si"], order=3, totaldegree=12),
            "dft_energy",
            "dft_force",
            on_progress=lambda done, _: bar.update(task, completed=done),
        )
    teacher.save(out / "teacher.npz")
    small = [canonical(atoms) for atoms in core if 2 <= len(atoms) <= 16]
    order = np.random.default_rng(2025).permutation(len(small))
    chosen = [small[k] for k in order if len(small[k]) == 16][: N_TRAIN + N_TEST + N_STARTS]
    return chosen[N_STARTS:], chosen[:N_STARTS], SurrogateEngine(model=out / "teacher.npz")


def train_mace(frames: list[Atoms], e0: float, out: Path) -> None:
    """A small MACE model by mace's own training command; its output is in training.log."""
    write_frames(out / "mace_train.extxyz", frames)
    options = {
        "name": "start",
        "work_dir": out / "training",
        "model_dir": out / "training",
        "train_file": out / "mace_train.extxyz",
        "valid_fraction": 0.1,
        "energy_key": KEYS.energy,
        "forces_key": KEYS.forces,
        "E0s": {14: e0},
        "r_max": 5.0,
        "num_channels": 16,
        "max_L": 1,
        "max_ell": 2,
        "correlation": 2,
        "batch_size": 4,
        "valid_batch_size": 4,
        "max_num_epochs": EPOCHS,
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
    with Progress() as bar:
        task = bar.add_task("training MACE", total=EPOCHS)
        for line in run_command(command, out / "training.log", environment=environment):
            if "Epoch" in line:
                bar.advance(task)
    write_as_before(out / "training" / "start.model", out / "start.model")


def write_as_before(model: Path, target: Path) -> None:
    """A model in the notation before mace-torch 0.3.9.

    The power of the cutoff was a float, and neighbouring inputs of one kind were written as one.
    """
    module = load_module(model)
    cutoff = module.radial_embedding.cutoff_fn
    cutoff.p = cutoff.p.to(torch.get_default_dtype())
    merged = 0
    for block in module.interactions:
        linear = block.linear
        inputs = linear.irreps_in.simplify()
        if len(inputs) < len(linear.irreps_in):
            merged += 1
            linear.instructions = list({one.i_out: one for one in linear.instructions}.values())
            linear.irreps_in = inputs
    assert merged, "nothing was written in another way before"
    target.write_bytes(module_bytes(module))


if __name__ == "__main__":
    main()
