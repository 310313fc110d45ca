"""Structures of the restraint example: butane, labelled by GFN2-xTB.

    python prepare.py

Some seconds. The training set knows the anti conformer alone. The test frames are of MD in which a
moving restraint turns the molecule into the gauche conformer, and are never trained on.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS

from ase_bayesel import Dihedral, Harmonic, Ramp, RestrainedCalculator
from ase_bayesel.labelling.engines import TBLiteEngine
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical
from ase_bayesel.structures.labels import PropertyKeys

FOLDER = Path(__file__).parent / "data"
KEYS = PropertyKeys("REF_energy", "REF_forces")
ENGINE = TBLiteEngine(method="GFN2-xTB")
CHAIN = (0, 1, 2, 3)
"""The carbon atoms in their order."""
TEMPERATURE_K = 300.0
TIMESTEP_FS = 0.5


def anti() -> Atoms:
    """The conformer of lowest energy."""
    atoms = molecule("trans-butane")
    atoms.calc = ENGINE.make({})
    BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
    return canonical(atoms)


def frames(
    start: Atoms, calculator: Calculator, count: int, interval: int, rng: np.random.Generator
) -> list[Atoms]:
    """Every so many steps of MD at 300 K."""
    atoms = start.copy()
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=2 * TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    )
    if isinstance(calculator, RestrainedCalculator):
        dynamics.attach(lambda: setattr(calculator, "step", dynamics.nsteps))
    kept = []
    for _ in range(count):
        dynamics.run(interval)
        kept.append(canonical(atoms))
    return kept


def main() -> None:
    """Write train, test and starts (.extxyz) into the folder data."""
    rng = np.random.default_rng(2026)
    start = anti()
    train = frames(start, ENGINE.make({}), 12, 40, rng)
    turn = Harmonic(Dihedral(CHAIN), Ramp(((0, 180.0), (480, 60.0))), k=3.0)
    test = frames(start, RestrainedCalculator(ENGINE.make({}), [turn]), 30, 20, rng)
    FOLDER.mkdir(exist_ok=True)
    write_frames(FOLDER / "train.extxyz", labelled(train, ENGINE, KEYS))
    write_frames(FOLDER / "test.extxyz", labelled(test, ENGINE, KEYS))
    write_frames(FOLDER / "starts.extxyz", [start])


if __name__ == "__main__":
    main()
