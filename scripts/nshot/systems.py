"""What the proof is made on: teacher, student, starts, first training sets and test frames.

A system says how it will be *used* (temperatures, time step, length of an exploration) and holds no
constant of a method. Its `ensemble` gives test frames by kind; the floor is fitted to other frames
of the same ensemble.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from pydantic import TypeAdapter

from ase_bayesel.campaign.config import AnyDescriptor, AnyEngine
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.labelling.engines import Engine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

from .teachers import snapshots, stillinger_weber

KEYS = PropertyKeys("REF_energy", "REF_forces")
STARTS = ("poor", "fair")
TEST_SEED, FLOOR_SEED = 20181, 20182
KIND = "nshot_kind"

Frames = Mapping[str, list[Atoms]]
"""Frames by kind."""


class MissingDataError(RuntimeError):
    """A system needs data or a package that are not here."""


@dataclass(frozen=True)
class System(ABC):
    """Base of all systems.

    Attributes
    ----------
    cache
        Directory for test sets.
    version
        Is part of the cache's file names; to be raised where frames change.
    """

    cache: Path
    name: ClassVar[str]
    descriptor: ClassVar[dict[str, Any]]
    labelling: ClassVar[Mapping[str, Any]]
    e0s: ClassVar[Any]
    temperature_K: ClassVar[Mapping[str, float]]
    """Of the walkers, and of the intended use, by start."""
    timestep_fs: ClassVar[float]
    steps: ClassVar[int]
    """Longest walk in a round."""
    explore: ClassVar[Mapping[str, Any]] = {}
    """Further settings of the config's section that belong to the use."""
    test_frames: ClassVar[int] = 60
    floor_frames: ClassVar[int] = 200
    per_molecule: ClassVar[bool] = False
    """Energy errors are those of whole structures: a barrier does not grow with the cell."""
    version: ClassVar[int] = 1
    n_labels: ClassVar[int] = 30

    @abstractmethod
    def starts(self) -> list[Atoms]:
        """Of the walkers, at rest."""

    @abstractmethod
    def first(self, seed: int, start: str) -> list[Atoms]:
        """The first training set without labels: ``"poor"`` or ``"fair"``."""

    @abstractmethod
    def ensemble(self, seed: int, count: int) -> dict[str, list[Atoms]]:
        """About ``count`` frames for tests, by kind, without labels."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The config's section ``labelling``."""
        return self.labelling

    @cached_property
    def engine(self) -> Engine:
        """The reference."""
        return TypeAdapter(AnyEngine).validate_python(dict(self.settings))

    def teacher(self) -> Calculator:
        """A new calculator of the reference."""
        return self.engine.make(self.engine.parameters_of(0))

    @cached_property
    def student(self) -> ACEDescriptor:
        """The descriptor."""
        config = TypeAdapter(AnyDescriptor).validate_python(dict(self.descriptor))
        return ACEDescriptor(config.elements, config.order, config.totaldegree, config.cutoff)

    def policy_starts(self) -> list[Atoms]:
        """Where MD on a fitted potential starts, at each temperature."""
        return self.starts()[:1]

    def training(self, seed: int, start: str) -> list[Atoms]:
        """The first training set with labels."""
        return self.label(self.first(seed, start))

    def label(self, frames: Sequence[Atoms]) -> list[Atoms]:
        """Frames with labels of the teacher."""
        return labelled([canonical(atoms) for atoms in frames], self.engine, KEYS)

    def test(self) -> Frames:
        """The labelled test set, from the cache if it is there."""
        return self._cached("test", TEST_SEED, self.test_frames)

    def floor(self) -> list[Atoms]:
        """Other labelled frames of the test's ensemble, for the floor; cached too."""
        kinds = self._cached("floor", FLOOR_SEED, self.floor_frames)
        return [atoms for frames in kinds.values() for atoms in frames]

    def _cached(self, what: str, seed: int, count: int) -> Frames:
        said = f"{self.version} {seed} {count} {sorted(self.settings.items())}"
        name = f"{self.name}_{what}_{hashlib.sha256(said.encode()).hexdigest()[:8]}.extxyz"
        path = self.cache / name
        if not path.exists():
            frames = []
            for kind, own in self.ensemble(seed, count).items():
                for atoms in self.label(own):
                    atoms.info[KIND] = kind
                    frames.append(atoms)
            self.cache.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{np.random.default_rng().integers(1 << 30)}.extxyz")
            write_frames(part, frames)
            part.replace(path)
        kinds: dict[str, list[Atoms]] = {}
        for atoms in read_frames(path):
            kinds.setdefault(str(atoms.info[KIND]), []).append(atoms)
        return kinds


@dataclass(frozen=True)
class Silicon(System):
    """Four cells of silicon: perfect, with a vacancy, strained and sheared; Stillinger-Weber."""

    name: ClassVar[str] = "silicon"
    descriptor: ClassVar[dict[str, Any]] = {
        "kind": "ace",
        "elements": ["Si"],
        "order": 3,
        "totaldegree": 12,
        "cutoff": 5.0,
    }
    labelling: ClassVar[Mapping[str, Any]] = {
        "kind": "import",
        "factory": "nshot.teachers:stillinger_weber",
    }
    e0s: ClassVar[Any] = {"Si": 0.0}
    temperature_K: ClassVar[Mapping[str, float]] = {"poor": 800.0, "fair": 1400.0}
    timestep_fs: ClassVar[float] = 2.0
    steps: ClassVar[int] = 400
    lattice_A: ClassVar[float] = 5.43
    repeat: ClassVar[tuple[int, int, int]] = (2, 2, 1)
    test_temperatures_K: ClassVar[tuple[float, ...]] = (300.0, 800.0, 1400.0)

    def starts(self) -> list[Atoms]:
        from ase.build import bulk

        perfect = bulk("Si", a=self.lattice_A, cubic=True) * self.repeat
        vacancy, strained, sheared = perfect.copy(), perfect.copy(), perfect.copy()
        del vacancy[5]
        strained.set_cell(1.03 * perfect.cell, scale_atoms=True)
        cell = perfect.cell.array.copy()
        cell[0, 1] += 0.05 * cell[0, 0]
        sheared.set_cell(cell, scale_atoms=True)
        return [perfect, vacancy, strained, sheared]

    def policy_starts(self) -> list[Atoms]:
        """The cell with the vacancy."""
        return self.starts()[1:2]

    def first(self, seed: int, start: str) -> list[Atoms]:
        """Five rattled perfect cells; ``fair``: also three 300 K frames of each cell."""
        rng = np.random.default_rng((seed, 1))
        frames = [self.starts()[0] for _ in range(5)]
        for atoms in frames:
            atoms.rattle(0.02, rng=rng)
        if start == "fair":
            for atoms in self.starts():
                frames += self._md(atoms, 300.0, rng, 3)
        return frames

    def ensemble(self, seed: int, count: int) -> dict[str, list[Atoms]]:
        rng = np.random.default_rng(seed)
        cells = self.starts()
        each = max(1, round(count / len(cells) / len(self.test_temperatures_K)))
        return {
            f"{temperature:.0f} K": [
                frame for atoms in cells for frame in self._md(atoms, temperature, rng, each)
            ]
            for temperature in self.test_temperatures_K
        }

    def _md(
        self, atoms: Atoms, temperature_K: float, rng: np.random.Generator, count: int
    ) -> list[Atoms]:
        return snapshots(atoms, self.mover(), temperature_K, 2.0, rng, count, 40, 60)

    def mover(self) -> Calculator:
        """What moves the atoms of the frames that the reference labels."""
        return self.teacher()


@dataclass(frozen=True)
class SmallSilicon(Silicon):
    """The same in half the cell with a smaller student, for the quick version."""

    name: ClassVar[str] = "silicon_small"
    descriptor: ClassVar[dict[str, Any]] = {**Silicon.descriptor, "totaldegree": 10}
    steps: ClassVar[int] = 300
    repeat: ClassVar[tuple[int, int, int]] = (2, 1, 1)
    test_frames: ClassVar[int] = 36


@dataclass(frozen=True)
class SiliconDFT(SmallSilicon):
    """The same in eight atoms by density-functional theory: Quantum ESPRESSO, cheap settings.

    Frames come from MD by Stillinger and Weber; only labels are DFT's.
    """

    name: ClassVar[str] = "silicon_dft"
    descriptor: ClassVar[dict[str, Any]] = {**Silicon.descriptor, "totaldegree": 8}
    labelling: ClassVar[Mapping[str, Any]] = {
        "kind": "espresso",
        "pseudo_dir": "/usr/share/espresso/pseudo",
        "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
        "kpts": [2, 2, 2],
        "parameters": {"system": {"ecutwfc": 16}},
        "fallbacks": [{"electrons": {"mixing_beta": 0.3, "electron_maxstep": 200}}],
        "environment": {"OMP_NUM_THREADS": "1"},
        "time_limit_h": 0.2,
    }
    e0s: ClassVar[Any] = "average"
    repeat: ClassVar[tuple[int, int, int]] = (1, 1, 1)
    n_labels: ClassVar[int] = 20

    def mover(self) -> Calculator:
        return stillinger_weber()


@dataclass(frozen=True)
class SiliconACE(Silicon):
    """The same with a linear ACE of degree 16 as teacher, fitted to the silicon set of 2018."""

    data: Path | None = field(default=None)
    name: ClassVar[str] = "silicon_ace"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"kind": "surrogate", "model": str(self._fitted().resolve())}

    @cached_property
    def e0s(self) -> Any:  # type: ignore[override]
        from ase_bayesel.surrogate.surrogate import Surrogate

        return dict(Surrogate.load(self._fitted()).e0s)

    def teacher(self) -> Calculator:
        from ase_bayesel.surrogate.surrogate import Surrogate

        return Surrogate.load(self._fitted()).calculator()

    def _fitted(self) -> Path:
        """The teacher's file; fitted once."""
        path = self.cache / "silicon_ace_teacher.npz"
        if path.exists():
            return path
        files = (
            [] if self.data is None else [self.data / f"{n}.extxyz" for n in ("core", "surfaces")]
        )
        if not files or not all(file.exists() for file in files):
            raise MissingDataError(
                "silicon_ace needs the silicon set of 2018: python scripts/fetch_si2018.py DIR, "
                "then --si2018 DIR (or ASE_BAYESEL_SI2018)"
            )
        from ase_bayesel.surrogate.fitting import Weights, fit_surrogate

        teacher = fit_surrogate(
            [atoms for file in files for atoms in read_frames(file)],
            ACEDescriptor(["Si"], order=3, totaldegree=16, cutoff=5.0),
            energy_key="dft_energy",
            forces_key="dft_force",
            virial_key="dft_virial",
            weights=Weights(virial=30.0),
        )
        self.cache.mkdir(parents=True, exist_ok=True)
        teacher.save(path)
        return path
