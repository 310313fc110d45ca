"""Uncertainties in scripts of users: `annotate`, and docs/how-to/own_scripts.md."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import Trajectory, read, write
from ase.md.langevin import Langevin as ASELangevin
from ase.md.verlet import VelocityVerlet
from helpers.structures import copper, copper_training

from ase_bayesel import ACEDescriptor, BiasedCalculator, annotate, run_walker
from ase_bayesel.errors import StructureError
from ase_bayesel.surrogate.scales import Scale, Scales
from ase_bayesel.surrogate.support import Support

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "own_scripts.md"


@pytest.fixture
def atoms(cu_surrogate):
    structure = copper(3, 0.1)
    structure.calc = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.5)
    return structure


def test_what_is_written(atoms, cu_surrogate):
    assert annotate(atoms) is atoms
    exact, energy = cu_surrogate.uncertainty(atoms), cu_surrogate.energy(atoms)
    assert atoms.info == pytest.approx(
        {
            "bayesel_energy": energy,
            "bayesel_biased_energy": energy - 0.5 * exact.energy,
            "bayesel_energy_std": exact.energy,
            "bayesel_energy_error": exact.scaled(cu_surrogate.scales).energy,
            "bayesel_tau": 0.5,
        },
        abs=1e-6,
    )
    local = cu_surrogate.local_energy_std(atoms)
    np.testing.assert_allclose(atoms.arrays["bayesel_local_energy_std"], local)
    np.testing.assert_allclose(atoms.arrays["bayesel_force_std"], exact.forces)


def test_forces_are_of_these_positions_or_not_there(atoms):
    annotate(atoms)
    atoms.positions[0, 0] += 0.1
    annotate(atoms, forces=False)
    assert not {"bayesel_force_std", "bayesel_force_error"} & set(atoms.arrays)
    assert atoms.info["bayesel_energy"] == atoms.calc.prediction.energy


def test_errors_to_be_expected_stand_beside_raw_deviations(cu_surrogate):
    support = Support.of(copper_training(), cu_surrogate.descriptor)
    scales = Scales(energy=Scale(3.0), forces=Scale(5.0))
    surrogate = replace(cu_surrogate, scales=scales, support=support)
    structure = copper(3, 0.1)
    structure.set_cell(1.3 * structure.cell, scale_atoms=True)
    structure.calc = BiasedCalculator(surrogate.calculator(), surrogate)
    arrays = annotate(structure).arrays
    local, raw = surrogate.local_uncertainty(structure), surrogate.uncertainty(structure)
    assert np.abs(local.outside).max() > 0
    np.testing.assert_allclose(arrays["bayesel_local_energy_error"], local.energies)
    assert (arrays["bayesel_local_energy_error"] > 3 * arrays["bayesel_local_energy_std"]).any()
    np.testing.assert_allclose(
        arrays["bayesel_force_error"], 5 * arrays["bayesel_force_std"], rtol=1e-12
    )
    expected = raw.scaled(scales).energy
    assert structure.info["bayesel_energy_error"] == pytest.approx(expected, rel=1e-6)


def test_nothing_is_evaluated_twice_in_dynamics(atoms, monkeypatch):
    passes = []
    calculate = BiasedCalculator.calculate
    monkeypatch.setattr(
        BiasedCalculator,
        "calculate",
        lambda self, *arguments: passes.append(1) or calculate(self, *arguments),
    )
    dynamics = VelocityVerlet(atoms, 1.0)
    dynamics.attach(annotate, 1, atoms)
    dynamics.run(4)
    assert len(passes) == 5


def test_files_of_ase(atoms, tmp_path):
    annotate(atoms)
    write(tmp_path / "frames.extxyz", atoms)
    with Trajectory(tmp_path / "frames.traj", "w") as trajectory:
        trajectory.write(atoms)
    for name in ("frames.extxyz", "frames.traj"):
        assert read(tmp_path / name).info == pytest.approx(atoms.info)
    kept = read(tmp_path / "frames.extxyz").arrays["bayesel_force_std"]
    np.testing.assert_allclose(kept, atoms.arrays["bayesel_force_std"], atol=1e-7)


@pytest.mark.parametrize(("calculator", "told"), [(None, "no calculator"), (EMT(), "a EMT")])
def test_another_calculator(calculator, told):
    structure = copper(3, 0.1)
    structure.calc = calculator
    with pytest.raises(StructureError, match=f"{told}; .*BiasedCalculator"):
        annotate(structure)


def test_no_tau_is_no_bias(cu_surrogate):
    structure = copper(3, 0.1)
    structure.calc = BiasedCalculator(EMT(), cu_surrogate)
    plain = copper(3, 0.1)
    plain.calc = EMT()
    assert structure.get_potential_energy() == plain.get_potential_energy()
    np.testing.assert_array_equal(structure.get_forces(), plain.get_forces())
    assert structure.calc.prediction.energy_std > 0


def test_arguments_in_the_wrong_places(cu_surrogate, cu_ace):
    order = r"BiasedCalculator\(calculator, surrogate\)"
    for first in (cu_surrogate, cu_ace, "EMT"):
        with pytest.raises(TypeError, match=f"mlip: .*{type(first).__name__}; .*{order}"):
            BiasedCalculator(first, EMT())
    for second in (EMT(), cu_ace, None):
        with pytest.raises(TypeError, match=f"surrogate: .*{type(second).__name__}.*{order}"):
            BiasedCalculator(EMT(), second)
    with pytest.raises(TypeError, match="fit_surrogate makes"):
        BiasedCalculator(EMT(), ACEDescriptor(["Cu"], totaldegree=4))


def test_an_integrator_of_ase_is_no_ensemble(atoms):
    for ensemble in (ASELangevin, VelocityVerlet(atoms, 1.0)):
        with pytest.raises(StructureError, match=r"Langevin\(\).*got one of ase\.md"):
            next(
                run_walker(
                    atoms, atoms.calc, n_steps=1, temperature_K=300, rng=None, ensemble=ensemble
                )
            )


def test_the_page_runs(monkeypatch, tmp_path):
    """All Python blocks of the page, one after the other in one namespace."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    found = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), found)
    relaxed = read("relaxation.traj", ":")
    assert relaxed[-1].info["bayesel_energy"] < relaxed[0].info["bayesel_energy"]
    for frame in relaxed:
        assert frame.info["bayesel_energy"] == pytest.approx(frame.get_potential_energy())
    assert len(read("md.extxyz", ":")) == 6
    stds = [frame.info["bayesel_energy_std"] for frame in read("band.extxyz", ":")]
    assert len(stds) == 5
    assert stds[2] > stds[0]
