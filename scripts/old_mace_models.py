"""Model files as earlier releases of mace-torch wrote them, for the tests.

Run once for each release, with it instead of the installed one:

    pip install --no-deps --target OLD mace-torch==0.3.4
    PYTHONPATH=OLD python scripts/old_mace_models.py tests/data/old_mace

The files of 0.3.4 were written with torch 2.0.1, numpy 1.26 and ASE 3.22, which are of the time of
MACE-MP-0, the others with torch 2.13.

Each model is trained by the release's own command for an epoch on EMT structures, with blocks and
options like those of foundation models, but few channels and a low `max_ell`. Beside it lie the
energies, forces, stresses and node features that the release's own calculator gives.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import lzma
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # these files are pickles
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402
from ase.io import write  # noqa: E402

if hasattr(torch.serialization, "add_safe_globals"):
    torch.serialization.add_safe_globals([slice])  # e3nn loads a file of constants on import

RESIDUAL = "RealAgnosticResidualInteractionBlock"
DENSITY = "RealAgnosticDensityInteractionBlock"
DENSITY_RESIDUAL = "RealAgnosticDensityResidualInteractionBlock"
ELEMENTS = ("Al", "Cu", "Pt", "Au")
COMMON: dict[str, object] = {
    "model": "ScaleShiftMACE",
    "interaction_first": RESIDUAL,
    "interaction": RESIDUAL,
    "num_interactions": 2,
    "num_channels": 8,
    "correlation": 3,
    "max_ell": 2,
    "r_max": 4.5,
    "num_radial_basis": 6,
    "radial_MLP": "[16,16]",
    "MLP_irreps": "8x0e",
    "scaling": "rms_forces_scaling",
    "default_dtype": "float64",
}
"""Far narrower than a foundation model, so that the files are small."""
SMALL: dict[str, object] = {"max_L": 0}
MEDIUM: dict[str, object] = {"max_L": 1}
LARGE: dict[str, object] = {"max_L": 2}
REPULSIVE: dict[str, object] = {"pair_repulsion": None, "distance_transform": "Agnesi"}
CASES: dict[str, dict[str, dict[str, object]]] = {
    "0.3.4": {
        "small": SMALL | {"default_dtype": "float32"},
        "medium": MEDIUM,
        "large": LARGE | {"correlation": 2},
        "plain": MEDIUM | {"model": "MACE"},
    },
    "0.3.5": {"repulsive": MEDIUM | REPULSIVE},
    "0.3.6": {"small": SMALL | REPULSIVE | {"default_dtype": "float32"}},
    "0.3.7": {
        "density": MEDIUM
        | REPULSIVE
        | {"interaction_first": DENSITY, "interaction": DENSITY_RESIDUAL},
    },
    "0.3.8": {"medium": MEDIUM},
    "0.3.9": {"repulsive": MEDIUM | REPULSIVE},
}
"""What each release makes, by name: options beyond `COMMON`."""


def structures() -> list[Atoms]:
    """Rattled and strained metals and alloys, unlabelled, the same at every call."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(12):
        atoms = bulk("Cu", cubic=True, a=4.0 + 0.03 * (number % 4))
        atoms.symbols = rng.choice(ELEMENTS, len(atoms))
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.08, atoms.positions.shape)
        frames.append(atoms)
    return frames


def write_training_set(path: Path) -> None:
    """Structures with labels of EMT, and the isolated atoms."""
    frames = structures()[:-2]
    for symbol in ELEMENTS:
        frames.append(Atoms(symbol, cell=[12.0] * 3, pbc=True))
        frames[-1].info["config_type"] = "IsolatedAtom"
    for atoms in frames:
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
    write(path, frames, format="extxyz")


def trained(options: dict[str, object], folder: Path) -> Path:
    """The model file that the release's training command leaves."""
    from mace.cli import run_train

    settings = (
        COMMON
        | options
        | {
            "name": "old",
            "train_file": folder / "train.xyz",
            "valid_fraction": 0.2,
            "energy_key": "REF_energy",
            "forces_key": "REF_forces",
            "E0s": "{" + ", ".join(f"{z}: {0.1 * z - 5.0}" for z in (13, 29, 78, 79)) + "}",
            "max_num_epochs": 1,
            "batch_size": 2,
            "valid_batch_size": 2,
            "device": "cpu",
            "seed": 1,
        }
    )
    sys.argv = ["mace_run_train"]
    sys.argv += [f"--{k}" if v is None else f"--{k}={v}" for k, v in settings.items()]
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        run_train.main()
    return folder / "old.model"


def reference(model: Path, dtype: str) -> dict[str, np.ndarray]:
    """What the release's own calculator gives of two structures."""
    from mace.calculators import MACECalculator

    with contextlib.redirect_stdout(io.StringIO()):
        calculator = MACECalculator(model_paths=str(model), device="cpu", default_dtype=dtype)
    values: dict[str, np.ndarray] = {}
    for number, atoms in enumerate(structures()[-2:]):
        atoms.calc = calculator
        found = {
            "numbers": atoms.numbers,
            "positions": atoms.positions,
            "cell": atoms.cell.array,
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
            "features": calculator.get_descriptors(atoms, invariants_only=False),
        }
        values.update({f"{name}_{number}": np.asarray(value) for name, value in found.items()})
    return values


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    version = importlib.metadata.version("mace-torch")
    if version not in CASES:
        raise SystemExit(f"mace-torch {version} is imported, expected one of {', '.join(CASES)}")
    for name, options in CASES[version].items():
        with tempfile.TemporaryDirectory() as folder:
            write_training_set(Path(folder) / "train.xyz")
            model = trained(options, Path(folder))
            values = reference(model, str((COMMON | options)["default_dtype"]))
            packed = lzma.compress(model.read_bytes(), preset=9)
        stem = target / f"mace_{version}_{name}"
        stem.with_name(f"{stem.name}.model.xz").write_bytes(packed)
        np.savez_compressed(stem.with_name(f"{stem.name}.npz"), **values)  # type: ignore[arg-type]
        logging.getLogger().handlers.clear()  # they write into the folder
        print(f"{stem.name}: {len(packed) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
