"""LAMMPS for real, where ``lmp`` is installed."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.stress import voigt_6_to_full_3x3_stress

from ase_bayesel.errors import CommandError, EngineError
from ase_bayesel.labelling.engines import LammpsEngine, settings_hash

ALL = ("energy", "forces", "stress")
LJ = LammpsEngine(
    {"commands": ["pair_style lj/cut 5.0", "pair_modify shift yes", "pair_coeff * * 0.4 2.3"]},
    species=("Ar", "Cu"),
)
STILLINGER_WEBER = """\
# Phys. Rev. B 31, 5262 (1985)
Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0
"""

real = pytest.mark.skipif(shutil.which("lmp") is None, reason="LAMMPS is not installed")


def silicon_engine(folder):
    (folder / "Si.sw").write_text(STILLINGER_WEBER)
    commands = ["pair_style sw", "pair_coeff * * Si.sw Si"]
    return LammpsEngine({"commands": commands}, species=("Si",), files=(folder / "Si.sw",))


@pytest.fixture
def compute(tmp_path):
    """Evaluate in a fresh directory."""

    def evaluated(engine, atoms, properties=ALL):
        directory = tmp_path / f"run{len(os.listdir(tmp_path))}"
        directory.mkdir()
        return engine.evaluate(atoms, directory, 0, properties)

    return evaluated


def skewed():
    atoms = bulk("Cu", "fcc", a=3.4) * (2, 2, 2)
    atoms.symbols[3] = "Ar"
    strain = np.eye(3) + 0.05 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def left_handed():
    atoms = skewed()
    atoms.cell = atoms.cell.array[[1, 0, 2]]
    return atoms


def outside():
    atoms = skewed()
    atoms.positions += (100, -70, 30)
    return atoms


def slab():
    atoms = bulk("Cu", "fcc", a=3.4, cubic=True) * (2, 1, 2)
    atoms.rattle(0.1, seed=2)
    atoms.pbc = (True, False, True)
    atoms.positions[:, 1] -= 9
    return atoms


def cluster():
    return Atoms("CuArCu4", 2 * np.random.default_rng(1).normal(size=(6, 3)) + 40)


@real
@pytest.mark.parametrize("make", [skewed, left_handed, outside, slab, cluster])
def test_lennard_jones_of_ase(compute, make):
    atoms = make()
    atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=5.0, smooth=False)
    found = compute(LJ, atoms)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(found.stress, atoms.get_stress(), atol=1e-5)
    else:
        assert found.stress is None
    assert found.version.startswith("lammps ")


@real
def test_other_units(compute):
    """Energies in kcal/mol, pressures in atmospheres."""
    commands = [*LJ.parameters["commands"][:2], f"pair_coeff * * {0.4 * 23.0605480} 2.3"]
    other = replace(LJ, parameters={"units": "real", "commands": commands})
    expected, found = compute(LJ, skewed()), compute(other, skewed())
    assert found.energy == pytest.approx(expected.energy, rel=1e-6)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@real
def test_stillinger_weber_by_finite_differences(compute, tmp_path):
    engine, rng = silicon_engine(tmp_path), np.random.default_rng(3)
    atoms = bulk("Si", a=5.4) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), True)
    atoms.rattle(0.1, seed=3)
    found, h = compute(engine, atoms), 1e-4
    direction, strain = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    strain += strain.T

    def moved(by):
        other = atoms.copy()
        other.positions += by * direction
        return compute(engine, other, ["energy"]).energy

    def strained(by):
        other = atoms.copy()
        other.set_cell(atoms.cell.array @ (np.eye(3) + by * strain), scale_atoms=True)
        return compute(engine, other, ["energy"]).energy

    slope = (moved(h) - moved(-h)) / (2 * h)
    assert -np.sum(found.forces * direction) == pytest.approx(slope, rel=1e-6)
    slope = (strained(h) - strained(-h)) / (2 * h) / atoms.get_volume()
    stress = voigt_6_to_full_3x3_stress(found.stress)
    assert np.sum(stress * strain) == pytest.approx(slope, rel=1e-5)


@real
def test_charges_from_a_command(compute):
    """Two ions: minus e^2 / (4 pi eps0 r), 14.3996 eV A."""
    commands = ["pair_style coul/cut 50.0", "pair_coeff * *"]
    commands += ["set type 1 charge 1.0", "set type 2 charge -1.0"]
    engine = LammpsEngine({"atom_style": "charge", "commands": commands}, species=("Na", "Cl"))
    found = compute(engine, Atoms("ClNa", [[0, 0, 0], [0, 3, 4]]))
    assert found.energy == pytest.approx(-14.3996 / 5, rel=1e-4)


@real
def test_atoms_on_top_of_each_other(compute):
    with pytest.raises(EngineError, match="not finite"):
        compute(LJ, Atoms("Cu2", [[0, 0, 0], [0, 0, 0]], cell=[12, 12, 12], pbc=True))


@real
def test_a_wrong_command_is_quoted(compute):
    wrong = replace(LJ, parameters={"commands": ["pair_style nonsense"]})
    with pytest.raises(CommandError, match="nonsense"):
        compute(wrong, skewed())


def test_written_input(tmp_path):
    engine = silicon_engine(tmp_path)
    atoms = bulk("Si")
    atoms.set_velocities(np.ones((2, 3)))
    directory = tmp_path / "run"
    directory.mkdir()
    assert engine.write(atoms, directory, engine.parameters_of(0), ALL)[:2] == ["-in", "lammps.in"]
    lines = (directory / "lammps.in").read_text().splitlines()
    assert lines[:3] == ["units metal", "atom_style atomic", "boundary p p p"]
    start = lines.index("read_data label.data") + 1
    assert lines[start : start + 2] == engine.parameters["commands"]
    assert "Velocities" not in (directory / "label.data").read_text()
    assert (directory / "Si.sw").read_text() == STILLINGER_WEBER


def test_missing(tmp_path):
    engine = replace(silicon_engine(tmp_path), command=("sh",))
    assert engine.missing(["Si"]) == []
    (problem,) = engine.missing(["Ge", "Si"])
    assert problem.startswith("Ge: ")
    (tmp_path / "Si.sw").unlink()
    (problem,) = engine.missing(["Si"])
    assert "Si.sw" in problem
    (problem,) = replace(LJ, parameters={}, command=("sh",)).missing(["Cu"])
    assert problem.startswith("commands: ")


def test_identity_is_that_of_the_potential(tmp_path):
    engine = silicon_engine(tmp_path)
    name = settings_hash(engine.identity(), ALL)
    (tmp_path / "else").mkdir()
    assert silicon_engine(tmp_path / "else").identity() == engine.identity()
    assert str(tmp_path) not in json.dumps(engine.identity())
    assert settings_hash(replace(engine, species=("Ge",)).identity(), ALL) != name
    (tmp_path / "Si.sw").write_text(STILLINGER_WEBER.replace("21.0", "22.0"))
    assert settings_hash(engine.identity(), ALL) != name
