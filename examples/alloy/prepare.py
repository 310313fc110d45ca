"""Structures of the alloy example: labelled by EMT, which also serves as the reference later.

    python prepare.py

A few seconds. The training set knows the ordered compounds CuAu and Cu3Au near rest; the
test set holds hot solid solutions, compressed and stretched.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from ase_bayesel.labelling.engines import ImportedEngine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

FOLDER = Path(__file__).parent / "data"
KEYS = PropertyKeys("REF_energy", "REF_forces", "REF_virial")
ENGINE = ImportedEngine(factory="ase.calculators.emt:EMT")
LATTICE_CONSTANT = {"CuAu": 3.88, "Cu3Au": 3.74}


def ordered(compound: str, stretch: float = 1.0) -> Atoms:
    """A 16-atom cell of L1_0 CuAu or L1_2 Cu3Au, its lengths ``stretch`` times those at rest."""
    cell = bulk("Cu", "fcc", a=stretch * LATTICE_CONSTANT[compound], cubic=True)
    cell.symbols = {"CuAu": "AuAuCuCu", "Cu3Au": "AuCuCuCu"}[compound]
    return cell * (2, 2, 1)


def rattled(atoms: Atoms, amplitude: float, rng: np.random.Generator) -> Atoms:
    """A copy with Gaussian displacements (A)."""
    out = atoms.copy()
    out.rattle(amplitude, rng=rng)
    return out


def hot_solution(rng: np.random.Generator) -> Atoms:
    """A random arrangement after 100 fs of reference MD at 800 K, lengths within 3 %."""
    atoms = ordered(str(rng.choice(["CuAu", "Cu3Au"])), rng.uniform(0.97, 1.03))
    atoms.numbers = rng.permutation(atoms.numbers)
    atoms.calc = ENGINE.make({})
    thermalize_momenta(atoms, temperature_K=1600, rng=rng)
    friction = 0.02 / units.fs
    Langevin(atoms, 4 * units.fs, temperature_K=800, friction=friction, fixcm=False, rng=rng).run(
        25
    )
    return atoms


def main() -> None:
    """Write train, test and starts (.extxyz) into the folder data."""
    rng = np.random.default_rng(2026)
    isolated = [Atoms(symbol, cell=[12.0] * 3) for symbol in ("Cu", "Au")]
    cells = [ordered(c, s) for c in LATTICE_CONSTANT for s in (0.985, 1.0, 1.015)]
    train = [*isolated, *(rattled(atoms, 0.05, rng) for atoms in cells)]
    test = [hot_solution(rng) for _ in range(24)]
    starts = [canonical(rattled(ordered(c), 0.01, rng)) for c in LATTICE_CONSTANT]
    FOLDER.mkdir(exist_ok=True)
    write_frames(
        FOLDER / "train.extxyz", labelled([canonical(atoms) for atoms in train], ENGINE, KEYS)
    )
    write_frames(
        FOLDER / "test.extxyz", labelled([canonical(atoms) for atoms in test], ENGINE, KEYS)
    )
    write_frames(FOLDER / "starts.extxyz", starts)


if __name__ == "__main__":
    main()
