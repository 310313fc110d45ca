"""What a step of a walker costs in LAMMPS beyond one in ASE, with forces that cost nothing."""

from time import perf_counter

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator

from ase_bayesel import NVE
from ase_bayesel.dynamics.engines import EngineName, engine_of
from ase_bayesel.dynamics.ensembles import IntegratorStart

STEPS = 1000


class Free(Calculator):
    """No energy and no forces."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=(), system_changes=()):
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def step_us(name: EngineName, atoms: Atoms) -> float:
    """Microseconds per step of NVE, the best of five."""
    atoms = atoms.copy()
    atoms.calc = Free()
    start = IntegratorStart(units.fs, 300.0, 0.0, np.random.default_rng(0))
    steps = engine_of(name).integrator(NVE(), atoms, start).irun(10 * STEPS)
    next(steps)
    times = []
    for _ in range(5):
        begin = perf_counter()
        for _ in range(STEPS):
            next(steps)
        times.append(perf_counter() - begin)
    return 1e6 * min(times) / STEPS


def main() -> None:
    """Print a table."""
    print("atoms    ase  lammps (us/step)")
    for n in (2, 4, 8):
        atoms = bulk("Cu") * (n, n, n)
        print(f"{len(atoms):5} {step_us('ase', atoms):6.0f} {step_us('lammps', atoms):7.0f}")


if __name__ == "__main__":
    main()
