"""The other systems: an alloy, a molecule with a barrier, an adatom with two ways to move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.constraints import FixInternals

from .systems import Silicon, SiliconACE, SiliconDFT, SmallSilicon, System
from .teachers import bare, snapshots

EMT = {"kind": "import", "factory": "ase.calculators.emt:EMT"}


def _ace(elements: list[str], totaldegree: int, cutoff: float) -> dict[str, Any]:
    return {
        "kind": "ace",
        "elements": elements,
        "order": 3,
        "totaldegree": totaldegree,
        "cutoff": cutoff,
    }


@dataclass(frozen=True)
class Alloy(System):
    """Copper and gold by EMT, as examples/alloy: from ordered compounds to solid solutions."""

    name: ClassVar[str] = "alloy"
    descriptor: ClassVar[dict[str, Any]] = _ace(["Cu", "Au"], 8, 5.0)
    labelling: ClassVar[Mapping[str, Any]] = EMT
    e0s: ClassVar[Any] = {"Cu": 3.51, "Au": 3.80}
    temperature_K: ClassVar[Mapping[str, float]] = {"poor": 800.0, "fair": 1200.0}
    timestep_fs: ClassVar[float] = 4.0
    steps: ClassVar[int] = 600
    explore: ClassVar[Mapping[str, Any]] = {"moves": [{"kind": "swap", "interval": 20}]}
    lattice_A: ClassVar[Mapping[str, float]] = {"CuAu": 3.88, "Cu3Au": 3.74}

    def _ordered(self, compound: str, stretch: float = 1.0) -> Atoms:
        from ase.build import bulk

        cell = bulk("Cu", "fcc", a=stretch * self.lattice_A[compound], cubic=True)
        cell.symbols = {"CuAu": "AuAuCuCu", "Cu3Au": "AuCuCuCu"}[compound]
        return cell * (2, 2, 1)

    def starts(self) -> list[Atoms]:
        return [self._ordered(c, s) for s in (1.0, 1.02) for c in self.lattice_A]

    def first(self, seed: int, start: str) -> list[Atoms]:
        """Six rattled ordered cells; ``fair``: also three 300 K frames of each start."""
        rng = np.random.default_rng((seed, 2))
        frames = [self._ordered(c, s) for c in self.lattice_A for s in (0.985, 1.0, 1.015)]
        for atoms in frames:
            atoms.rattle(0.05, rng=rng)
        if start == "fair":
            for atoms in self.starts():
                frames += snapshots(atoms, self.teacher(), 300.0, 4.0, rng, 3, 25, 25)
        return frames

    def ensemble(self, seed: int, count: int) -> dict[str, list[Atoms]]:
        rng = np.random.default_rng(seed)
        kinds: dict[str, list[Atoms]] = {"ordered": [], "solution": []}
        for k in range(count):
            kind = ("ordered", "solution")[k % 2]
            atoms = self._ordered(("CuAu", "Cu3Au")[k // 2 % 2], rng.uniform(0.98, 1.03))
            if kind == "solution":
                atoms.numbers = rng.permutation(atoms.numbers)
            temperature = (300.0, 800.0, 1200.0)[k // 4 % 3]
            kinds[kind] += snapshots(atoms, self.teacher(), temperature, 4.0, rng, 1, 60, 0)
        return kinds


@dataclass(frozen=True)
class Butane(System):
    """Butane by GFN2-xTB: trained on the anti conformer, judged on the whole torsion."""

    name: ClassVar[str] = "butane"
    descriptor: ClassVar[dict[str, Any]] = _ace(["C", "H"], 9, 4.5)
    labelling: ClassVar[Mapping[str, Any]] = {"kind": "tblite", "method": "GFN2-xTB"}
    e0s: ClassVar[Any] = "average"
    temperature_K: ClassVar[Mapping[str, float]] = {"poor": 300.0, "fair": 300.0}
    timestep_fs: ClassVar[float] = 0.5
    steps: ClassVar[int] = 1500
    test_frames: ClassVar[int] = 117
    per_molecule: ClassVar[bool] = True
    n_labels: ClassVar[int] = 40
    angles_deg: ClassVar[tuple[float, ...]] = tuple(range(60, 181, 10))

    @cached_property
    def _anti(self) -> Atoms:
        from ase.build import molecule
        from ase.optimize import BFGS

        atoms = molecule("trans-butane")
        atoms.calc = self.teacher()
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
        return bare(atoms)

    def starts(self) -> list[Atoms]:
        return [self._anti.copy() for _ in range(4)]

    def policy_starts(self) -> list[Atoms]:
        """A minimum of each basin."""
        return [self._anti.copy(), self._turned(65.0)]

    def first(self, seed: int, start: str) -> list[Atoms]:
        """Ten 300 K frames of the anti conformer; ``fair``: thirty."""
        rng = np.random.default_rng((seed, 3))
        count = 30 if start == "fair" else 10
        return snapshots(self._anti, self.teacher(), 300.0, 0.5, rng, count, 60, 200)

    def ensemble(self, seed: int, count: int) -> dict[str, list[Atoms]]:
        """300 K frames near each point of a scan of the dihedral, and the scan itself (profile)."""
        rng = np.random.default_rng(seed)
        each = max(1, round(count / len(self.angles_deg)))
        kinds: dict[str, list[Atoms]] = {"anti": [], "gauche": [], "barrier": [], "profile": []}
        for angle in self.angles_deg:
            atoms = self._turned(angle)
            kinds["profile"].append(atoms)
            kind = "gauche" if angle <= 90 else ("barrier" if angle <= 150 else "anti")
            for _ in range(each):
                kinds[kind] += snapshots(atoms, self.teacher(), 300.0, 0.5, rng, 1, 40)
        return kinds

    @cached_property
    def _chain(self) -> tuple[list[int], list[int]]:
        """The four carbon atoms in order, and all atoms beyond the bond in the middle."""
        from ase.neighborlist import neighbor_list

        atoms = self._anti
        first, second = neighbor_list("ij", atoms, {("C", "C"): 1.7, ("C", "H"): 1.3})
        near = {k: second[first == k].tolist() for k in range(len(atoms))}
        carbon = {k: [n for n in near[k] if atoms.symbols[n] == "C"] for k in near}
        chain = [next(k for k in near if atoms.symbols[k] == "C" and len(carbon[k]) == 1)]
        while len(chain) < 4:
            chain.append(next(n for n in carbon[chain[-1]] if n not in chain))
        hydrogen = [n for k in chain[2:] for n in near[k] if atoms.symbols[n] == "H"]
        return chain, [chain[3], *hydrogen]

    def _turned(self, angle_deg: float) -> Atoms:
        """Relaxed at a dihedral."""
        from ase.optimize import BFGS

        chain, moved = self._chain
        atoms = self._anti.copy()
        atoms.set_dihedral(*chain, angle_deg, indices=moved)
        atoms.calc = self.teacher()
        atoms.set_constraint(FixInternals(dihedrals_deg=[[float(angle_deg), chain]]))
        BFGS(atoms, logfile=None).run(fmax=0.05, steps=60)
        return bare(atoms)


@dataclass(frozen=True)
class Adatom(System):
    """A copper atom on Cu(100) by EMT: trained in its hollow, judged on its ways of moving."""

    name: ClassVar[str] = "adatom"
    descriptor: ClassVar[dict[str, Any]] = _ace(["Cu"], 12, 5.0)
    labelling: ClassVar[Mapping[str, Any]] = EMT
    e0s: ClassVar[Any] = {"Cu": 3.51}
    temperature_K: ClassVar[Mapping[str, float]] = {"poor": 600.0, "fair": 600.0}
    timestep_fs: ClassVar[float] = 4.0
    steps: ClassVar[int] = 600
    per_molecule: ClassVar[bool] = True

    def _slab(self) -> Atoms:
        """Relaxed, with the adatom (the last atom) in a hollow; periodic along the surface."""
        from ase.build import add_adsorbate, fcc100

        slab = fcc100("Cu", (3, 3, 3), vacuum=8.0)
        add_adsorbate(slab, "Cu", 1.7, "hollow")
        return self._relaxed(slab)

    def _relaxed(self, atoms: Atoms) -> Atoms:
        from ase.optimize import BFGS

        atoms = bare(atoms)
        atoms.calc = self.teacher()
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=300)
        return bare(atoms)

    def starts(self) -> list[Atoms]:
        slab = self._slab()
        return [slab.copy() for _ in range(4)]

    def first(self, seed: int, start: str) -> list[Atoms]:
        """Five 300 K frames in the hollow; ``fair``: ten, and ten of 600 K."""
        rng, slab = np.random.default_rng((seed, 4)), self._slab()
        count = 10 if start == "fair" else 5
        frames = snapshots(slab, self.teacher(), 300.0, 4.0, rng, count, 25, 25)
        if start == "fair":
            frames += snapshots(slab, self.teacher(), 600.0, 4.0, rng, 10, 25, 25)
        return frames

    def ensemble(self, seed: int, count: int) -> dict[str, list[Atoms]]:
        """300 K frames near the images of both paths, the images themselves, and the hollow."""
        rng, slab = np.random.default_rng(seed), self._slab()
        each = max(1, round(count / 22))
        kinds: dict[str, list[Atoms]] = {
            "hollow": snapshots(slab, self.teacher(), 600.0, 4.0, rng, 6 * each, 25, 50)
        }
        for name, end in self._ends(slab).items():
            images = self._path(slab, end)
            kinds[f"{name} path"] = images
            kinds[name] = [
                frame
                for image in images[1:-1]
                for _ in range(each)
                for frame in snapshots(image, self.teacher(), 300.0, 4.0, rng, 1, 8)
            ]
        return kinds

    def _ends(self, slab: Atoms) -> dict[str, Atoms]:
        """The other end of hop and exchange."""
        a = slab.cell.lengths()[0] / 3
        hop = slab.copy()
        hop.positions[-1] += a * slab.cell.array[0] / slab.cell.lengths()[0]
        exchange = slab.copy()
        adatom = slab.positions[-1]
        top = np.argsort(slab.positions[:-1, 2])[-9:]
        across = slab.positions[top] - adatom
        near = top[np.argmin(np.linalg.norm(across[:, :2], axis=1))]
        step = slab.positions[near] - adatom
        exchange.positions[-1] = slab.positions[near]
        exchange.positions[near] = adatom + 2 * np.array([step[0], step[1], 0.0])
        return {"hop": self._relaxed(hop), "exchange": self._relaxed(exchange)}

    def _path(self, first: Atoms, last: Atoms) -> list[Atoms]:
        """Images of a nudged elastic band."""
        from ase.mep import NEB
        from ase.optimize import FIRE

        images = [first.copy(), *(first.copy() for _ in range(7)), last.copy()]
        for image in images:
            image.calc = self.teacher()
        band = NEB(images, climb=True, method="improvedtangent")
        band.interpolate("idpp")
        FIRE(band, logfile=None).run(fmax=0.05, steps=200)
        return [bare(image) for image in images]


SYSTEMS: dict[str, type[System]] = {
    cls.name: cls for cls in (Silicon, SmallSilicon, SiliconDFT, SiliconACE, Alloy, Butane, Adatom)
}
