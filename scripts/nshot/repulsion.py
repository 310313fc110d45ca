"""Screened nuclear repulsion inside the bond length, as a baseline of a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_bayesel.structures.labels import PropertyKeys

COULOMB = units.Hartree * units.Bohr
"""e^2 / (4 pi eps0), eV A."""
SHARES = (0.18175, 0.50986, 0.28022, 0.02817)
RATES = (3.19980, 0.94229, 0.40290, 0.20162)


@dataclass(frozen=True)
class Repulsion:
    """Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter (1985).

    Attributes
    ----------
    inner, outer
        A polynomial switches it off between these shares of the sum of two covalent radii.
    """

    inner: float = 0.6
    outer: float = 0.8

    def __call__(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """Energy, eV, and forces ``(n_atoms, 3)``, eV/A."""
        radii, z = covalent_radii[atoms.numbers], atoms.numbers.astype(float)
        reach = 2 * self.outer * float(radii.max(initial=0.0))
        first, second, r, vectors = neighbor_list("ijdD", atoms, reach)
        bond = radii[first] + radii[second]
        length = 0.46850 / (z[first] ** 0.23 + z[second] ** 0.23)
        terms = np.array(SHARES) * np.exp(-np.outer(r / length, RATES))
        screened = COULOMB * z[first] * z[second] / r
        plain = screened * terms.sum(axis=1)
        slope = -screened * (terms @ RATES) / length - plain / r
        width = (self.outer - self.inner) * bond
        x = np.clip((r - self.inner * bond) / width, 0.0, 1.0)
        switch = 1 - x**3 * (10 - 15 * x + 6 * x**2)
        slope = slope * switch - plain * 30 * x**2 * (1 - x) ** 2 / width
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, slope[:, None] * vectors / r[:, None])
        return 0.5 * float((plain * switch).sum()), forces

    def taken_off(self, atoms: Atoms, keys: PropertyKeys) -> Atoms:
        """A copy whose labels are less the repulsion."""
        energy, forces = self(atoms)
        copy = atoms.copy()
        copy.info[keys.energy] = atoms.info[keys.energy] - energy
        copy.arrays[keys.forces] = atoms.arrays[keys.forces] - forces
        return copy
