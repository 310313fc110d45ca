"""Materials of the study: training frames, and test frames by kind, from cheap references.

The kind ``same`` comes from the ensemble of the training frames; a model has never seen the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond100, diamond111, fcc111
from ase.calculators.calculator import Calculator
from nshot.teachers import bare, snapshots, stillinger_weber

from ase_bayesel import fit_surrogate
from ase_bayesel.descriptors.ace import ACEDescriptor

from .fit import KEYS, Fit

SAME = "same"
EACH = 6
"""Test frames of a kind."""
Kinds = dict[str, list[Atoms]]


@dataclass(frozen=True)
class Material(ABC):
    """Base of all materials; frames are without labels."""

    name: ClassVar[str]
    elements: ClassVar[tuple[str, ...]]
    e0s: ClassVar[dict[str, float]]
    degrees: ClassVar[tuple[int, ...]]
    size: ClassVar[str] = "degree"
    """What a degree is a number of."""
    times: ClassVar[int] = 1
    """Of each walk so many times the frames, for what needs more of them than a linear model."""

    @abstractmethod
    def reference(self) -> Calculator:
        """A new calculator."""

    @abstractmethod
    def frames(self, rng: np.random.Generator) -> tuple[list[Atoms], Kinds]:
        """Training frames, and test frames by kind."""

    def descriptor(self, degree: int) -> ACEDescriptor:
        """The basis of a degree."""
        return ACEDescriptor(list(self.elements), order=3, totaldegree=degree, cutoff=5.0)

    def fit(self, train: Sequence[Atoms], kinds: Kinds, degree: int, seed: int) -> Fit:
        """A model of labelled frames, and what it is tested on."""
        descriptor = self.descriptor(degree)
        surrogate = fit_surrogate(train, descriptor, KEYS.energy, KEYS.forces, e0s=self.e0s)
        return Fit(surrogate, train, kinds)

    def labelled(self, frames: Sequence[Atoms]) -> list[Atoms]:
        """Copies with the labels of the reference."""
        result = []
        for atoms in frames:
            frame = bare(atoms)
            frame.calc = self.reference()
            frame.info[KEYS.energy] = frame.get_potential_energy()
            frame.arrays[KEYS.forces] = frame.get_forces()
            frame.calc = None
            result.append(frame)
        return result

    def md(
        self, atoms: Atoms, temperature_K: float, count: int, rng: np.random.Generator
    ) -> list[Atoms]:
        """Snapshots of MD."""
        return snapshots(atoms, self.reference(), temperature_K, 2.0, rng, count, 30, 50)


@dataclass(frozen=True)
class Silicon(Material):
    """Stillinger-Weber; trained on MD of a crystal, with a vacancy, strained and sheared."""

    name: ClassVar[str] = "silicon"
    elements: ClassVar[tuple[str, ...]] = ("Si",)
    e0s: ClassVar[dict[str, float]] = {"Si": 0.0}
    degrees: ClassVar[tuple[int, ...]] = (10, 12)

    def reference(self) -> Calculator:
        return stillinger_weber()

    def frames(self, rng: np.random.Generator) -> tuple[list[Atoms], Kinds]:
        crystal = bulk("Si", a=5.43, cubic=True) * (2, 2, 1)
        vacancy, strained, sheared = crystal.copy(), crystal.copy(), crystal.copy()
        del vacancy[5]
        strained.set_cell(1.03 * crystal.cell, scale_atoms=True)
        cell = crystal.cell.array.copy()
        cell[0, 1] += 0.05 * cell[0, 0]
        sheared.set_cell(cell, scale_atoms=True)
        cells = (crystal, vacancy, strained, sheared)
        train, kinds = [], {SAME: []}
        for temperature in (300.0, 800.0, 1400.0):
            for atoms in cells:
                walked = self.md(atoms, temperature, 7 * self.times, rng)
                train += walked[: 4 * self.times]
                kinds[SAME] += walked[5 * self.times :]
        slab = diamond100("Si", (2, 2, 6), a=5.43, vacuum=8.0)
        other = diamond111("Si", (2, 2, 3), a=5.43, vacuum=8.0)
        top = slab.positions[np.argmax(slab.positions[:, 2])]
        adatom = slab + Atoms("Si", top[None] + [1.0, 0.5, 2.0])
        for name, atoms, temperature in (
            ("surface (100)", slab, 500.0),
            ("surface (111)", other, 500.0),
            ("adatom", adatom, 400.0),
            ("interstitial", crystal + Atoms("Si", [[2.7, 2.7, 2.7]]), 600.0),
            ("liquid", crystal, 3500.0),
        ):
            atoms.pbc = True
            kinds[name] = self.md(atoms, temperature, EACH, rng)
        kinds["compressed"] = rattled([_scaled(crystal, s) for s in (0.85, 0.9, 0.95)], 2, rng)
        kinds["expanded"] = rattled([_scaled(crystal, s) for s in (1.08, 1.16, 1.25)], 2, rng)
        for name, a, repeat in (("fcc", 3.9, 2), ("bcc", 3.1, 3), ("sc", 2.5, 3)):
            kinds[name] = rattled([bulk("Si", name, a=a, cubic=True) * repeat], EACH, rng)
        return train, kinds


@dataclass(frozen=True)
class Alloy(Material):
    """Copper and gold by EMT; trained on MD of the ordered compounds."""

    name: ClassVar[str] = "alloy"
    elements: ClassVar[tuple[str, ...]] = ("Cu", "Au")
    e0s: ClassVar[dict[str, float]] = {"Cu": 3.51, "Au": 3.80}
    degrees: ClassVar[tuple[int, ...]] = (7, 8)

    def reference(self) -> Calculator:
        from ase.calculators.emt import EMT

        return EMT()

    def frames(self, rng: np.random.Generator) -> tuple[list[Atoms], Kinds]:
        compounds = []
        for a, symbols in ((3.88, "AuAuCuCu"), (3.74, "AuCuCuCu")):
            cell = bulk("Cu", "fcc", a=a, cubic=True)
            cell.symbols = symbols
            compounds.append(cell * (2, 2, 2))
        train, kinds = [], {SAME: []}
        for temperature in (300.0, 700.0, 1000.0):
            for atoms in compounds:
                walked = self.md(atoms, temperature, 10 * self.times, rng)
                train += walked[: 7 * self.times]
                kinds[SAME] += walked[8 * self.times :]
        mixed, vacancy = compounds[0].copy(), compounds[1].copy()
        mixed.numbers = rng.permutation(mixed.numbers)
        del vacancy[3]
        slab = fcc111("Cu", (2, 2, 5), a=3.8, vacuum=8.0)
        slab.numbers[::2] = 79
        for name, atoms, temperature in (
            ("solution", mixed, 700.0),
            ("vacancy", vacancy, 700.0),
            ("surface", slab, 500.0),
            ("liquid", compounds[0], 3000.0),
        ):
            atoms.pbc = True
            kinds[name] = self.md(atoms, temperature, EACH, rng)
        copper = bulk("Cu", "fcc", a=3.61, cubic=True) * (2, 2, 2)
        kinds["copper"] = self.md(copper, 700.0, EACH, rng)
        kinds["compressed"] = rattled([_scaled(compounds[0], s) for s in (0.9, 0.95)], 3, rng)
        kinds["expanded"] = rattled([_scaled(compounds[0], s) for s in (1.07, 1.15)], 3, rng)
        return train, kinds


def rattled(cells: Sequence[Atoms], each: int, rng: np.random.Generator) -> list[Atoms]:
    """Copies with Gaussian displacements of 0.06 A."""
    frames = []
    for atoms in cells:
        for _ in range(each):
            frames.append(bare(atoms))
            frames[-1].rattle(0.06, rng=rng)
    return frames


def _scaled(atoms: Atoms, factor: float) -> Atoms:
    scaled = bare(atoms)
    scaled.set_cell(factor * atoms.cell, scale_atoms=True)
    return scaled
