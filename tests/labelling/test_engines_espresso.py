"""Quantum ESPRESSO: input, and what ASE's reader says of the same output."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.units import Ry
from helpers.campaigns import campaign_settings
from helpers.dft_engines import ESPRESSO, evaluated, needs_espresso, silicon_pair

from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.errors import ConfigError
from ase_bayesel.labelling.engines import EspressoEngine


@pytest.fixture
def engine(tmp_path):
    """One whose pseudopotentials are there on any machine."""
    pseudo = tmp_path / "pseudo"
    pseudo.mkdir()
    for element in ("Si", "H", "C"):
        (pseudo / f"{element}.upf").touch()
    return replace(
        ESPRESSO,
        pseudo_dir=pseudo,
        pseudopotentials={element: f"{element}.upf" for element in ("Si", "H", "C")},
    )


def written(engine, atoms, directory, properties=("energy", "forces")):
    assert engine.write(atoms, directory, engine.parameters_of(0), properties) == [
        "-in",
        "espresso.pwi",
    ]
    return (directory / "espresso.pwi").read_text()


def test_input(engine, tmp_path):
    atoms = Atoms("SiCHSiC", np.random.default_rng(0).uniform(-2, 7, (5, 3)), pbc=True)
    atoms.cell = [[5, 0.1, 0], [0, 5.5, 0.3], [0.2, 0, 6]]
    atoms.set_initial_magnetic_moments([1, 0, 0, 2, 0])
    text = written(engine, atoms, tmp_path)
    again = read(tmp_path / "espresso.pwi", format="espresso-in")
    assert list(again.symbols) == list(atoms.symbols)
    np.testing.assert_allclose(again.positions, atoms.positions, atol=1e-9)
    np.testing.assert_allclose(again.cell, atoms.cell, atol=1e-9)
    for line in (
        "calculation      = 'scf'",
        "outdir           = './scratch'",
        "tprnfor          = .true.",
        "tstress          = .false.",
        "conv_thr         = 1e-10",
        "smearing         = 'gaussian'",
        "degauss          = 0.02",
        f"pseudo_dir       = '{engine.pseudo_dir}'",
    ):
        assert line in text
    assert "2 2 2  0 0 0" in text
    assert "nspin" not in text


def test_one_point_is_gamma_except_for_spinors(engine, tmp_path):
    gamma = replace(engine, kpts=(1, 1, 1))
    assert "K_POINTS gamma" in written(gamma, silicon_pair(), tmp_path)
    spinors = replace(gamma, parameters={"system": {"noncolin": True}})
    assert "K_POINTS automatic\n1 1 1  0 0 0" in written(spinors, silicon_pair(), tmp_path)


def test_spins(engine, tmp_path):
    text = written(
        replace(engine, magnetic_moments={"C": 0.4}),
        Atoms("SiCC", cell=[3, 3, 3], pbc=True),
        tmp_path,
    )
    assert "nspin            = 2" in text
    assert "starting_magnetization(1) = 0.0" in text
    assert "starting_magnetization(2) = 0.4" in text


@needs_espresso
def test_the_same_as_by_the_reader_of_ase(tmp_path):
    atoms = silicon_pair()
    found = evaluated(ESPRESSO, atoms, tmp_path)
    expected = read(tmp_path / "run0" / "espresso.pwo", format="espresso-out")
    assert found.energy == pytest.approx(expected.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(found.forces, expected.get_forces(apply_constraint=False))
    np.testing.assert_allclose(found.stress, expected.get_stress())


@needs_espresso
def test_nothing_is_left_but_text(tmp_path, monkeypatch):
    """Nor of Open MPI, whose daemon tidies up when the program has ended."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    evaluated(ESPRESSO, silicon_pair(), tmp_path)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"espresso.pwi", "espresso.pwo", "espresso.pwo.err"}


@needs_espresso
def test_the_energy_of_a_hybrid_functional_is_the_last(tmp_path):
    """Each cycle within the cycle over the exchange operator prints an energy."""
    hybrid = {"input_dft": "hse", "nqx1": 1, "nqx2": 1, "nqx3": 1, "nbnd": 8, "degauss": 0.02}
    engine = replace(
        ESPRESSO,
        parameters={"system": {"ecutwfc": 12, **hybrid}, "electrons": {"conv_thr": 1e-7}},
        kpts=(1, 1, 1),
    )
    found = evaluated(engine, silicon_pair(), tmp_path, properties=["energy"])
    lines = (tmp_path / "run0" / "espresso.pwo").read_text().splitlines()
    last = next(line for line in lines if line.startswith("!!"))
    first = next(line for line in lines if line.startswith("!"))
    assert found.energy == pytest.approx(float(last.split()[-2]) * Ry)
    assert abs(found.energy - float(first.split()[-2]) * Ry) > 0.1


def labelling(**changes):
    given = {
        "kind": "espresso",
        "parameters": {"system": {"ecutwfc": 30}},
        "fallbacks": [{"electrons": {"mixing_beta": 0.2}}],
        "kspacing": 0.3,
        "pseudo_dir": "/pseudo",
        "pseudopotentials": {"Cu": "Cu.upf"},
        "time_limit_h": 0.5,
        "command": ["mpirun", "-n", "4", "pw.x"],
    }
    config = campaign_settings({"labelling": {**given, **changes}})
    return validate_config(config, "test").labelling


def test_config():
    engine = labelling()
    assert isinstance(engine, EspressoEngine)
    assert (engine.kspacing, engine.kpts, engine.time_limit_h) == (0.3, None, 0.5)
    assert engine.command == ("mpirun", "-n", "4", "pw.x")
    assert engine.parameters_of(1)["electrons"] == {"conv_thr": 1e-10, "mixing_beta": 0.2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"ecutwfc": 30}}, r"labelling\.parameters\.ecutwfc: "),
        ({"kpts": [2, 2, 0], "kspacing": None}, r"kpts"),
        ({"pseudopotentials": {}}, "pseudopotentials"),
        ({"kspacing": -1.0}, "kspacing"),
        ({"ecutwfc": 3}, "ecutwfc"),
    ],
)
def test_config_that_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        labelling(**changes)


def test_both_kpts_and_kspacing_are_refused():
    with pytest.raises(ConfigError, match="one of kpts and kspacing"):
        labelling(kpts=[2, 2, 2])
