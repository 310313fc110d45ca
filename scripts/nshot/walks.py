"""Plain MD on a fitted potential."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units

from ase_bayesel.bias.unbiased import UnbiasedCalculator
from ase_bayesel.dynamics.ensembles import Langevin
from ase_bayesel.dynamics.moves import Move
from ase_bayesel.dynamics.walkers import run_walker
from ase_bayesel.surrogate.surrogate import Surrogate

from .systems import System


def walk(
    system: System,
    surrogate: Surrogate,
    atoms: Atoms,
    temperature_K: float,
    rng: np.random.Generator,
    n_steps: int,
    interval: int,
    moves: Sequence[Move] = (),
    hot_start: bool = True,
) -> list[Atoms]:
    """Sane frames of MD on the mean, ``interval`` steps apart; fewer where it explodes.

    Parameters
    ----------
    hot_start
        Momenta of twice the temperature, of which half becomes potential energy.
    """
    frames = []
    for step in run_walker(
        _kicked(atoms, temperature_K, rng) if hot_start else atoms,
        UnbiasedCalculator(surrogate.calculator()),
        n_steps=n_steps,
        temperature_K=temperature_K,
        rng=rng,
        timestep_fs=system.timestep_fs,
        ensemble=Langevin(),
        moves=moves,
    ):
        if step.status != "running":
            break
        if step.step and step.step % interval == 0:
            frames.append(step.atoms)
    return frames


def _kicked(atoms: Atoms, temperature_K: float, rng: np.random.Generator) -> Atoms:
    kicked = atoms.copy()
    sigma = np.sqrt(2 * units.kB * temperature_K * atoms.get_masses())[:, None]
    kicked.set_momenta(sigma * rng.normal(size=(len(atoms), 3)))
    return kicked
