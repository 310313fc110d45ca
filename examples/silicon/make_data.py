"""Make the structures of this example: training, test and start frames of 16-atom silicon.

The reference is GFN1-xTB at the Gamma point with a high electronic temperature.
That is not bulk silicon (a 16-atom cell is too small for one k-point); it is a
smooth, reproducible quantum-mechanical surface that is quick to evaluate. All
structures share one cell, since the error of the single k-point depends on the
cell and no short-ranged model could learn it. Run once:

    python make_data.py
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk, diamond100
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from ase_bayesel.labelling.engines import TBLiteEngine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

HERE = Path(__file__).parent
KEYS = PropertyKeys("REF_energy", "REF_forces")
ENGINE = TBLiteEngine({"electronic_temperature": 8000.0})
LATTICE_CONSTANT = 5.6


def rattled(rng: np.random.Generator, amplitude: float) -> Atoms:
    """The diamond cell with Gaussian displacements (A)."""
    atoms = bulk("Si", a=LATTICE_CONSTANT) * (2, 2, 2)
    atoms.rattle(amplitude, rng=rng)
    return atoms


def hot_frames(rng: np.random.Generator, n: int) -> list[Atoms]:
    """Frames of reference MD at 900 K, 60 fs apart."""
    atoms = rattled(rng, 0.05)
    atoms.calc = ENGINE.make(ENGINE.parameters)
    thermalize_momenta(atoms, temperature_K=1200, rng=rng)
    dynamics = Langevin(
        atoms, 3 * units.fs, temperature_K=900, friction=0.02 / units.fs, fixcm=False, rng=rng
    )
    frames = []
    for step, _ in enumerate(dynamics.irun(20 * n)):
        if step and step % 20 == 0:
            frames.append(atoms.copy())
    return frames


def main() -> None:
    """Write initial, test, starts and slab (.extxyz) beside this script."""
    rng = np.random.default_rng(2018)
    isolated = Atoms("Si", cell=[12.0] * 3, pbc=False)
    initial = [isolated, *(rattled(rng, 0.06) for _ in range(6))]
    test = hot_frames(rng, 15) + [rattled(rng, 0.12) for _ in range(10)]
    write_frames(
        HERE / "initial.extxyz", labelled([canonical(atoms) for atoms in initial], ENGINE, KEYS)
    )
    write_frames(HERE / "test.extxyz", labelled([canonical(atoms) for atoms in test], ENGINE, KEYS))
    slab = diamond100("Si", size=(2, 2, 8), a=5.46, vacuum=6.0)
    slab.pbc = True
    write_frames(HERE / "slab.extxyz", [canonical(slab)])
    write_frames(HERE / "starts.extxyz", [canonical(rattled(rng, 0.01)) for _ in range(3)])


if __name__ == "__main__":
    main()
