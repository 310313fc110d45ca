"""ASE's calculator of PLUMED around ours, with a stand-in for PLUMED's library."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ase import units
from ase.calculators.plumed import Plumed
from helpers.structures import copper

from ase_bayesel import BiasedCalculator, Distance, Harmonic, RestrainedCalculator

KAPPA, AT = 2000.0, 0.3
"""Of the restraint, in PLUMED's units: kJ/mol/nm^2 and nm."""


class Kernel:
    """One harmonic restraint between the first two atoms, in PLUMED's units."""

    def __init__(self):
        self.told = {}

    def cmd(self, name, value=None):
        self.told[name] = value
        if name == "performCalc":
            self._pull()
        if name == "getBias":
            value[0] = self._bias

    def _pull(self):
        length, energy = self.told["setMDLengthUnits"], self.told["setMDEnergyUnits"]
        between = length * (self.told["setPositions"][1] - self.told["setPositions"][0])
        beyond = np.linalg.norm(between) - AT
        self._bias = 0.5 * KAPPA * beyond**2 / energy
        pull = KAPPA * beyond * between / np.linalg.norm(between) * length / energy
        self.told["setForces"][:2] += [pull, -pull]


def test_adds_to_the_biased_surface_and_leaves_predictions_alone(cu_surrogate, monkeypatch):
    monkeypatch.setitem(sys.modules, "plumed", SimpleNamespace(Plumed=Kernel))
    atoms = copper(1, 0.05, repeat=(2, 2, 2))

    def biased():
        return BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)

    inside, alone = biased(), biased()
    outside = Plumed(inside, ["RESTRAINT"], timestep=units.fs, atoms=atoms)
    k = KAPPA * units.kJ / units.mol / units.nm**2
    ours = RestrainedCalculator(biased(), [Harmonic(Distance((0, 1)), AT * units.nm, k)])
    energy = outside.get_potential_energy(atoms)
    assert energy == pytest.approx(ours.get_potential_energy(atoms), rel=1e-10)
    np.testing.assert_allclose(outside.get_forces(atoms), ours.get_forces(atoms), atol=1e-10)
    assert energy - alone.get_potential_energy(atoms) > 0.01
    assert inside.prediction.energy_std == alone.prediction.energy_std
    assert inside.prediction.energy == alone.prediction.energy
