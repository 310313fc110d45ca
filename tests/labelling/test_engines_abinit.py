"""ABINIT: input, and what the program itself makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.units import Bohr, Hartree
from helpers.campaigns import campaign_settings
from helpers.dft_engines import ABINIT, evaluated, needs_abinit, silicon_pair

from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.labelling.engines import AbinitEngine


@pytest.fixture
def engine(tmp_path):
    """One whose pseudopotentials are there on any machine."""
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    for element in ("Si", "H", "C"):
        (pseudo / f"{element}.psp8").touch()
    files = {element: f"{element}.psp8" for element in ("Si", "H", "C")}
    return replace(ABINIT, pseudo_dir=pseudo, pseudopotentials=files)


def written(engine, atoms, directory, properties=("energy", "forces")):
    assert engine.write(atoms, directory, engine.parameters_of(0), properties) == ["abinit.abi"]
    return (directory / "abinit.abi").read_text()


def test_input(engine, tmp_path):
    atoms = Atoms("SiCHSiC", np.random.default_rng(0).uniform(-2, 7, (5, 3)), pbc=True)
    atoms.cell = [[5, 0.1, 0], [0, 5.5, 0.3], [0.2, 0, 6]]
    atoms *= (1, 1, 7)
    text = written(engine, atoms, tmp_path)
    again = read(tmp_path / "abinit.abi", format="abinit-in")
    assert list(again.symbols) == list(atoms.symbols)
    np.testing.assert_allclose(again.positions / Bohr, atoms.positions, atol=1e-9)
    np.testing.assert_allclose(again.cell, atoms.cell, atol=1e-9)
    lines = text.splitlines()
    for line in ("ngkpt 2 2 2", "chksymtnons 0", "tolvrs 1e-10", "optforces 1", "optstress 0"):
        assert line in lines
    assert max(map(len, lines)) < 264
    names = [line.split()[0] for line in lines if line[0].isalpha()]
    assert len(names) == len(set(names))


def test_right_handed_cells(engine, tmp_path):
    atoms = silicon_pair()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    left = np.linalg.det(atoms.cell.array)
    written(engine, atoms, tmp_path)
    again = read(tmp_path / "abinit.abi", format="abinit-in")
    assert np.sign(np.linalg.det(again.cell.array)) == 1.0 != np.sign(left)
    np.testing.assert_allclose(again.positions / Bohr, atoms.positions, atol=1e-9)


def test_another_tolerance_takes_the_place_of_the_default(engine):
    forces = replace(engine, parameters={"TolDFF": "5e-6"})
    assert forces.parameters_of(0)["toldff"] == 5e-6
    assert "tolvrs" not in forces.parameters_of(0)


def test_spins(engine, tmp_path):
    magnetic = replace(engine, magnetic_moments={"C": 1.5})
    text = written(magnetic, Atoms("SiC", cell=[3, 3, 3], pbc=True), tmp_path)
    assert "nsppol 2\nspinat 0.0 0.0 0.0\n0.0 0.0 1.5\n" in text
    assert "nsppol" not in written(engine, silicon_pair(), tmp_path)


@needs_abinit
def test_the_same_as_by_the_final_echo_of_the_program(tmp_path):
    """The variables etotal, fcart and strten, which the reader does not look at."""
    found = evaluated(ABINIT, silicon_pair(), tmp_path)
    words = (tmp_path / "run0" / "abinit.abo").read_text().split("-outvars: echo")[2].split()

    def echo(name, count):
        start = words.index(name) + 1
        return np.array(words[start : start + count], float)

    assert found.energy == pytest.approx(echo("etotal", 1)[0] * Hartree, rel=1e-6)
    forces = echo("fcart", 6).reshape(2, 3) * (Hartree / Bohr)
    np.testing.assert_allclose(found.forces, forces, atol=1e-6)
    stress = echo("strten", 6) * (Hartree / Bohr**3)
    np.testing.assert_allclose(found.stress, stress, atol=1e-7)


@needs_abinit
def test_a_grid_of_lower_symmetry_than_the_crystal(tmp_path):
    engine = replace(ABINIT, kpts=(1, 2, 3))
    crystal = Atoms("Si2", cell=5.4 * (np.ones((3, 3)) - np.eye(3)) / 2, pbc=True)
    crystal.set_scaled_positions([[0, 0, 0], [0.25, 0.25, 0.25]])
    found = evaluated(engine, crystal, tmp_path)
    assert np.isfinite(found.energy)


def test_config():
    given = {
        "kind": "abinit",
        "parameters": {"ecut": 20},
        "kpts": [2, 3, 4],
        "pseudo_dir": "/pseudo",
        "pseudopotentials": {"Cu": "Cu.psp8"},
    }
    config = validate_config(campaign_settings({"labelling": given}), "test")
    engine = config.engine
    assert isinstance(engine, AbinitEngine)
    assert engine.kpts == (2, 3, 4)
    assert engine.parameters_of(0)["ecut"] == 20
