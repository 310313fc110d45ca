"""Adapters of foundation models, each with the weights that its package brings."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write
from helpers.campaigns import ended, reports, write_campaign
from helpers.differences import assert_close
from helpers.foundation import RANDOM, REAL
from helpers.structures import copper, copper_training, jittered

from ase_bayesel import (
    BiasedCalculator,
    RelativeForceTrigger,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.bias.evaluators import NetworkEvaluator
from ase_bayesel.descriptors.importing import imported_descriptor
from ase_bayesel.errors import ConfigError
from ase_bayesel.structures.mlip import mlip_results
from ase_bayesel.testing import check_descriptor, check_joint_descriptor

pytestmark = pytest.mark.slow
STEP_A = 1e-5
families = pytest.mark.parametrize("family", [family.parameter() for family in REAL + RANDOM])
real_ones = pytest.mark.parametrize("family", [family.parameter() for family in REAL])
in_files = pytest.mark.parametrize(
    "family", [one.parameter() for one in REAL + RANDOM if one.write_model or one in REAL]
)


def frames():
    """A sheared cell, one that is longer than the cutoff on one axis only, and a molecule."""
    rocksalt = jittered(bulk("NaCl", "rocksalt", 5.6) * (2, 1, 1), 0.1, 1)
    rocksalt.set_cell(rocksalt.cell.array @ (np.eye(3) + 0.03), scale_atoms=True)
    return [rocksalt, jittered(molecule("H2O"), 0.05, 2)]


@families
def test_conformance(family):
    """In float64; steps are short, since features of CHGNet bend sharply with angles."""
    descriptor = family.descriptor(dtype="float64")
    check_descriptor(
        descriptor,
        frames(),
        tolerance=1e-4,
        step_A=1e-5,
        rotations=family.rotations,
        reflections=family.reflections,
    )
    check_joint_descriptor(descriptor, frames(), tolerance=1e-4, step_A=1e-5)


@families
def test_the_packages_own_numbers(family):
    calculator, descriptor = family.make_calculator(), family.descriptor()
    precise = family.descriptor(dtype="float64")
    assert descriptor.serves(calculator)
    assert not precise.serves(calculator)
    for atoms in [
        frames()[0],
        copper(1, repeat=(2, 2, 2)),
        jittered(bulk("SiC", "zincblende", 4.4)),
    ]:
        theirs = mlip_results(calculator, atoms.copy(), True)
        for one in (descriptor, precise):
            ours = mlip_results(one.calculator(), atoms.copy(), True)
            assert ours.energy == pytest.approx(theirs.energy, abs=1e-5 * len(atoms))
            assert_close(ours.forces, theirs.forces, 2e-4)
            np.testing.assert_allclose(ours.stress, theirs.stress, atol=1e-5)


@families
def test_biased_md_shares_the_pass_with_the_packages_calculator(family):
    descriptor = family.descriptor()
    surrogate = fit_surrogate(copper_training(), descriptor, force_projections=4)
    biased = BiasedCalculator(family.make_calculator(), surrogate, tau=0.5)
    assert isinstance(biased._evaluator, NetworkEvaluator)
    atoms = copper(3, repeat=(2, 1, 1))
    walker = run_walker(
        atoms,
        biased,
        n_steps=5,
        temperature_K=300.0,
        rng=np.random.default_rng(0),
        triggers=[RelativeForceTrigger(1e-6)],
    )
    *_, last = walker
    assert last.status == "running"
    assert last.reports[0].value > 1e-6


@families
def test_biased_forces_are_the_slope_of_the_biased_energy(family):
    descriptor = family.descriptor("float64")
    surrogate = fit_surrogate(copper_training(), descriptor, force_projections=4)
    biased = BiasedCalculator(descriptor.calculator(), surrogate, tau=0.5)
    atoms = copper(3, repeat=(2, 1, 1))
    forces = biased.get_forces(atoms)
    direction = np.random.default_rng(0).normal(size=forces.shape)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * STEP_A * direction
        energies.append(biased.get_potential_energy(moved))
    slope = (energies[0] - energies[1]) / (2.0 * STEP_A)
    assert slope == pytest.approx(-np.sum(forces * direction), rel=1e-3)


@in_files
def test_a_campaign_of_two_rounds(family, tmp_path):
    potential = {"kind": "descriptor", "energy_shift": "fitted"}
    if family.write_model is not None:
        family.write_model(tmp_path / "network.pt")
        potential["model"] = "network.pt"
    changes = {
        "potential": potential,
        "descriptor": {
            "kind": "import",
            "factory": family.factory,
            "parameters": dict(family.parameters),
            "force_projections": 2,
        },
        "data.test": None,
        "explore.walkers": 1,
        "explore.steps": 6,
        "explore.picks": 1,
        "explore.trigger": {"kind": "relative_force", "threshold": 1e-4},
    }
    config = write_campaign(tmp_path, changes)
    write(tmp_path / "train.extxyz", read(tmp_path / "train.extxyz", ":3"))
    store, _ = ended(config)
    assert store.completed_rounds() == 3
    assert all(report.picks > 0 for report in reports(store)[1:])


@real_ones
def test_models_that_are_not_there(family):
    with pytest.raises(ConfigError, match="nowhere"):
        imported_descriptor(family.factory, {}, "nowhere.pt")
