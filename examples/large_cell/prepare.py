"""Structures of the large-cell example: grain boundaries in copper, labelled by EMT.

    python prepare.py

Some twenty seconds. The training set knows the crystal alone, compressed and stretched, in cells
of 32 atoms. The large cell holds two symmetric tilt boundaries, Sigma 5 (210)[001]; its test frames
are of MD at 300 K, and are never trained on.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.lattice.cubic import FaceCenteredCubic
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import FIRE

from ase_bayesel.labelling.engines import ImportedEngine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures import neighbour_pairs
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

FOLDER = Path(__file__).parent / "data"
KEYS = PropertyKeys("REF_energy", "REF_forces")
ENGINE = ImportedEngine(factory="ase.calculators.emt:EMT")
LATTICE_A = 3.61
TEMPERATURE_K = 300.0
ON_TOP_A = 1.9
"""Of atoms of two grains that are closer, one is removed."""


def grain_boundaries() -> Atoms:
    """About 2,000 atoms: two grains that mirror each other, at rest."""
    grain = FaceCenteredCubic(
        "Cu",
        directions=[[-1, 2, 0], [0, 0, 1], [2, 1, 0]],
        size=(3, 6, 3),
        latticeconstant=LATTICE_A,
    )
    height = grain.cell[2, 2]
    mirrored = grain.copy()
    mirrored.positions[:, 2] = 2 * height - mirrored.positions[:, 2]
    both = grain + mirrored
    both.cell[2, 2] = 2 * height
    both.wrap()
    first, second, _ = neighbour_pairs(both, ON_TOP_A)
    del both[np.unique(second[first < second])]
    both.calc = ENGINE.make({})
    FIRE(both, logfile=None).run(fmax=0.05, steps=30)
    return canonical(both)


def crystals(count: int, repeat: int, std_A: float, rng: np.random.Generator) -> list[Atoms]:
    """Cells of the crystal with lengths within 3.5 %, and normal displacements."""
    cells = []
    for stretch in np.linspace(0.965, 1.035, count):
        atoms = bulk("Cu", a=stretch * LATTICE_A, cubic=True) * (repeat, repeat, repeat)
        atoms.rattle(std_A, rng=rng)
        cells.append(canonical(atoms))
    return cells


def frames(start: Atoms, count: int, interval: int, rng: np.random.Generator) -> list[Atoms]:
    """Every so many steps of 2 fs of MD."""
    atoms = start.copy()
    atoms.calc = ENGINE.make({})
    thermalize_momenta(atoms, temperature_K=2 * TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms,
        2 * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=0.01 / units.fs,
        fixcm=False,
        rng=rng,
    )
    kept = []
    for _ in range(count):
        dynamics.run(interval)
        kept.append(canonical(atoms))
    return kept


def main() -> None:
    """Write train, test and starts (.extxyz) into the folder data."""
    rng = np.random.default_rng(2026)
    large = grain_boundaries()
    train = [Atoms("Cu", cell=[12.0] * 3), *crystals(5, 2, 0.03, rng)]
    test = frames(large, 2, 20, rng)
    FOLDER.mkdir(exist_ok=True)
    write_frames(FOLDER / "train.extxyz", labelled(train, ENGINE, KEYS))
    write_frames(FOLDER / "test.extxyz", labelled(test, ENGINE, KEYS))
    write_frames(FOLDER / "starts.extxyz", [large])


if __name__ == "__main__":
    main()
