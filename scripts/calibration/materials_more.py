"""A molecule, the real silicon set of 2018, and silicon with a network as the potential."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from nshot.teachers import bare, snapshots

from ase_bayesel import fit_surrogate
from ase_bayesel.campaign.refit import MACERefitter, RefitTask
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.descriptors.mace import MACEDescriptor
from ase_bayesel.descriptors.mace.loading import mace_calculator
from ase_bayesel.resources.commands import run_command
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.surrogate.steps import finished

from .fit import KEYS, Fit
from .materials import EACH, SAME, Alloy, Kinds, Material, Silicon

SI2018 = "ASE_BAYESEL_SI2018"
"""Names the folder that scripts/fetch_si2018.py has written."""


@dataclass(frozen=True)
class Hydrocarbons(Material):
    """GFN2-xTB; trained on 300 K frames of butane in its anti conformer and of propane."""

    name: ClassVar[str] = "hydrocarbons"
    elements: ClassVar[tuple[str, ...]] = ("C", "H")
    e0s: ClassVar[dict[str, float]] = {"C": -48.798, "H": -10.707}
    degrees: ClassVar[tuple[int, ...]] = (8, 9)

    def reference(self) -> Calculator:
        from tblite.ase import TBLite

        return TBLite(method="GFN2-xTB", verbosity=0)

    def descriptor(self, degree: int) -> ACEDescriptor:
        return ACEDescriptor(list(self.elements), order=3, totaldegree=degree, cutoff=4.5)

    def frames(self, rng: np.random.Generator) -> tuple[list[Atoms], Kinds]:
        relaxed = {}
        for name in ("trans-butane", "C3H8", "isobutane", "C2H6", "C2H4", "cyclobutane"):
            atoms = molecule(name)
            atoms.calc = self.reference()
            BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
            relaxed[name] = bare(atoms)
        butane, propane = relaxed["trans-butane"], relaxed["C3H8"]
        train, kinds = [], {SAME: []}
        for atoms in (butane, propane):
            walked = self.walk(atoms, 300.0, 30, rng)
            train += walked[:20]
            kinds[SAME] += walked[22:]
        gauche = self.turned(butane, 65.0)
        for name, atoms, temperature in (
            ("gauche butane", gauche, 300.0),
            ("eclipsed butane", self.turned(butane, 120.0), 300.0),
            ("butane at 900 K", butane, 900.0),
            ("isobutane", relaxed["isobutane"], 300.0),
            ("cyclobutane", relaxed["cyclobutane"], 300.0),
            ("ethane", relaxed["C2H6"], 300.0),
            ("ethene", relaxed["C2H4"], 300.0),
        ):
            equilibration = 0 if name == "eclipsed butane" else 100
            kinds[name] = self.walk(atoms, temperature, EACH, rng, equilibration)
        kinds["stretched"] = [scaled(butane, s, rng) for s in (1.06, 1.1, 1.14) for _ in range(2)]
        kinds["compressed"] = [scaled(butane, s, rng) for s in (0.94, 0.9, 0.88) for _ in range(2)]
        return train, kinds

    def walk(
        self,
        atoms: Atoms,
        temperature_K: float,
        count: int,
        rng: np.random.Generator,
        equilibration: int = 100,
    ) -> list[Atoms]:
        """Snapshots of MD with a time step that hydrogen allows."""
        interval = 40 if equilibration else 8
        return snapshots(
            atoms, self.reference(), temperature_K, 0.5, rng, count, interval, equilibration
        )

    def turned(self, butane: Atoms, angle_deg: float) -> Atoms:
        """The molecule with another dihedral; hydrogen turns with its carbon."""
        carbon = [k for k, symbol in enumerate(butane.symbols) if symbol == "C"]
        distances = butane.get_all_distances()
        ends = [k for k in carbon if sum(distances[k, carbon] < 1.7) == 2]
        first = ends[0]
        chain = [first]
        while len(chain) < 4:
            near = [k for k in carbon if distances[chain[-1], k] < 1.7 and k not in chain]
            chain.append(near[0])
        near = [int(k) for k in np.argsort(distances[:, chain[2]])[:5]]
        beyond = {*near, *(int(k) for k in np.argsort(distances[:, chain[3]])[:5])} - {chain[1]}
        turned = butane.copy()
        turned.set_dihedral(*chain, angle_deg, indices=sorted(beyond))
        return turned


@dataclass(frozen=True)
class RealSilicon(Material):
    """DFT (Bartok et al., Phys. Rev. X 8, 041048, 2018); trained on strained and hot crystals."""

    name: ClassVar[str] = "si2018"
    elements: ClassVar[tuple[str, ...]] = ("Si",)
    degrees: ClassVar[tuple[int, ...]] = (10, 12)
    e0s: ClassVar[dict[str, float]] = {"Si": -158.54496821}
    n_train: ClassVar[int] = 150
    n_surfaces: ClassVar[int] = 0

    def reference(self) -> Calculator:
        raise RuntimeError("the labels of the set are there")

    def labelled(self, frames: Sequence[Atoms]) -> list[Atoms]:
        return list(frames)

    @cached_property
    def _all(self) -> tuple[list[Atoms], list[Atoms]]:
        folder = Path(os.environ[SI2018])
        return _small(folder / "core.extxyz"), _small(folder / "surfaces.extxyz")

    def frames(self, rng: np.random.Generator) -> tuple[list[Atoms], Kinds]:
        core, surfaces = self._all
        core = [core[k] for k in rng.permutation(len(core))]
        surfaces = [surfaces[k] for k in rng.permutation(len(surfaces))]
        train, same = core[: self.n_train], core[self.n_train : self.n_train + 4 * EACH]
        if self.n_surfaces:
            same = surfaces[self.n_surfaces : self.n_surfaces + 4 * EACH]
            return train + surfaces[: self.n_surfaces], {SAME: same}
        kinds: Kinds = {SAME: same}
        for atoms in surfaces:
            kind = kinds.setdefault(atoms.info["config_type"].replace("_", " "), [])
            if len(kind) < 2 * EACH:
                kind.append(atoms)
        return train, kinds


@dataclass(frozen=True)
class RealSurfaces(RealSilicon):
    """The same with 50 surfaces, tested on other surfaces."""

    name: ClassVar[str] = "si2018-surfaces"
    n_surfaces: ClassVar[int] = 50


class _Network(Material):
    """A small MACE trained on a third of the frames, then fine-tuned on all, as a campaign does."""

    degrees: ClassVar[tuple[int, ...]] = (16,)
    size: ClassVar[str] = "channels"
    times: ClassVar[int] = 3

    def fit(self, train: Sequence[Atoms], kinds: Kinds, degree: int, seed: int) -> Fit:
        with tempfile.TemporaryDirectory() as folder:
            file = self._trained(list(train), degree, seed, Path(folder))
            potential = mace_calculator(file, None, "float64", "cpu")
            surrogate = fit_surrogate(
                train, MACEDescriptor(file), KEYS.energy, KEYS.forces, e0s=self.e0s
            )
        return Fit(surrogate, train, kinds, potential, REFITTER.unseen(len(train)))

    def _trained(self, train: list[Atoms], channels: int, seed: int, folder: Path) -> Path:
        write_frames(folder / "first.extxyz", train[::3])
        options = {
            "name": "first",
            "work_dir": folder,
            "model_dir": folder,
            "train_file": folder / "first.extxyz",
            "valid_fraction": 0.1,
            "energy_key": KEYS.energy,
            "forces_key": KEYS.forces,
            "E0s": {Atoms(symbol).numbers[0].item(): e0 for symbol, e0 in self.e0s.items()},
            "r_max": 5.0,
            "num_channels": channels,
            "max_L": 0,
            "max_ell": 2,
            "correlation": 2,
            "batch_size": 4,
            "valid_batch_size": 4,
            "max_num_epochs": 60,
            "lr": 0.01,
            "energy_weight": 10,
            "forces_weight": 100,
            "default_dtype": "float64",
            "device": "cpu",
            "plot": False,
            "seed": seed,
        }
        command = [sys.executable, "-m", "mace.cli.run_train"]
        command += [f"--{name}={value}" for name, value in options.items()]
        environment = {"PYTHONWARNINGS": "ignore", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        for _ in run_command(command, folder / "training.log", environment=environment):
            pass
        first = folder / "first.model"
        task = RefitTask(train, len(train), KEYS, self.e0s, first, folder / "refit", seed)
        return finished(REFITTER.refit(task))


REFITTER = MACERefitter(
    max_epochs=30,
    checkpoint_epochs=10,
    learning_rate=0.003,
    batch_size=4,
    valid_fraction=0.2,
    energy_weight=50,
)


class NetworkSilicon(_Network, Silicon):
    """Silicon with a network."""

    name: ClassVar[str] = "silicon-mace"


class NetworkAlloy(_Network, Alloy):
    """The alloy with a network."""

    name: ClassVar[str] = "alloy-mace"


def scaled(atoms: Atoms, factor: float, rng: np.random.Generator) -> Atoms:
    """All lengths of a molecule times a factor, and Gaussian displacements of 0.02 A."""
    result = bare(atoms)
    result.positions *= factor
    result.rattle(0.02, rng=rng)
    return result


def _small(file: Path) -> list[Atoms]:
    """The frames of up to 100 atoms that are no isolated atom, with the study's keys."""
    frames = []
    for atoms in read_frames(file):
        if 1 < len(atoms) <= 100 and atoms.info["config_type"] != "isolated_atom":
            frame = bare(atoms)
            frame.info = {"config_type": atoms.info["config_type"]}
            frame.info[KEYS.energy] = atoms.info["dft_energy"]
            frame.arrays[KEYS.forces] = atoms.arrays["dft_force"]
            frames.append(frame)
    return frames


MATERIALS: dict[str, type[Material]] = {
    cls.name: cls
    for cls in (
        *(Silicon, Alloy, Hydrocarbons),
        *(RealSilicon, RealSurfaces),
        *(NetworkSilicon, NetworkAlloy),
    )
}
