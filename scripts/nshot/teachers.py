"""Reference calculators that configs name as ``nshot.teachers:...``, and MD on them."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

FRICTION_PER_FS = 0.01


def stillinger_weber() -> Calculator:
    """Silicon by Stillinger and Weber, Phys. Rev. B 31, 5262 (1985)."""
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import (
        Stillinger_Weber_PRB_31_5262_Si,
        StillingerWeber,
    )

    return Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))


def snapshots(
    atoms: Atoms,
    calculator: Calculator,
    temperature_K: float,
    timestep_fs: float,
    rng: np.random.Generator,
    count: int,
    interval: int,
    equilibration: int = 0,
) -> list[Atoms]:
    """Frames of Langevin MD, ``interval`` steps apart, with momenta at twice the temperature first.

    Half of the kinetic energy of a start at rest becomes potential energy.

    Parameters
    ----------
    atoms
        Start at (or near) a minimum; not changed.
    count, interval, equilibration
        How many frames, steps between two, and steps before the first interval.
    """
    moving = atoms.copy()
    moving.calc = calculator
    thermalize_momenta(moving, temperature_K=2 * temperature_K, rng=rng)
    dynamics = Langevin(
        moving,
        timestep_fs * units.fs,
        temperature_K=temperature_K,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=rng,
    )
    frames = []
    dynamics.run(equilibration)
    for _ in range(count):
        dynamics.run(interval)
        frames.append(bare(moving))
    return frames


def bare(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and pbc alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
