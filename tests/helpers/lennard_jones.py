"""A Lennard-Jones crystal whose neighbours stay the same: smooth, quick, and exact in all terms."""

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from matscipy.neighbours import neighbour_list

from ase_bayesel.dynamics.ensembles import IntegratorStart, bring_to_rest

EPSILON, SIGMA, LATTICE = 0.0104, 3.4, 5.3


class FixedNeighbours:
    """What ASE's integrators ask of a calculator, for argon with two shells of neighbours."""

    def __init__(self, crystal: Atoms) -> None:
        i, j, shifts = neighbour_list("ijS", crystal, 1.1 * LATTICE)
        order = shifts @ (10000, 100, 1) + 1e-3 * (j - i)
        self.i, self.j, self.shifts = (array[order > 0] for array in (i, j, shifts))
        self.key, self.evaluations = None, 0

    def _update(self, atoms: Atoms) -> None:
        key = atoms.positions.tobytes() + atoms.cell.array.tobytes()
        if key == self.key:
            return
        self.key, self.evaluations = key, self.evaluations + 1
        d = atoms.positions[self.j] - atoms.positions[self.i] + self.shifts @ atoms.cell.array
        square = np.einsum("ij,ij->i", d, d)
        x = (SIGMA**2 / square) ** 3
        pull = (24 * EPSILON * (2 * x - 1) * x / square)[:, None] * d
        n = len(atoms)
        self.forces = np.stack(
            [np.bincount(self.j, p, n) - np.bincount(self.i, p, n) for p in pull.T], axis=1
        )
        self.stress = (-(d.T @ pull) / atoms.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]
        self.energy = float(4 * EPSILON * np.sum((x - 1) * x))

    def get_forces(self, atoms: Atoms) -> np.ndarray:
        self._update(atoms)
        return self.forces.copy()

    def get_stress(self, atoms: Atoms) -> np.ndarray:
        self._update(atoms)
        return self.stress.copy()

    def get_potential_energy(self, atoms: Atoms, force_consistent: bool = False) -> float:
        self._update(atoms)
        return self.energy


def argon(repeat=(2, 1, 1), constraint=None) -> Atoms:
    """A perfect crystal, eight atoms by default."""
    atoms = bulk("Ar", cubic=True, a=LATTICE) * repeat
    atoms.set_constraint(constraint)
    atoms.calc = FixedNeighbours(atoms)
    return atoms


def moving(ensemble, atoms, temperature_K, seed=0, timestep_fs=8.0, pressure_GPa=0.05):
    """Momenta for the ensemble, and its integrator."""
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature_K, rng=rng)
    bring_to_rest(atoms, ensemble)
    pressure = pressure_GPa * units.GPa
    start = IntegratorStart(timestep_fs * units.fs, temperature_K, pressure, rng)
    return ensemble.dynamics(atoms, start)


def block_average(values, n_blocks=12):
    """Mean and its standard error from means of consecutive blocks."""
    values = np.asarray(values)
    values = values[len(values) % n_blocks :].reshape(n_blocks, -1).mean(axis=1)
    return values.mean(), values.std(ddof=1) / np.sqrt(n_blocks)
