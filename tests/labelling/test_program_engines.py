"""VASP, CASTEP, ORCA and FHI-aims: what is written, and what is read.

The programs cannot be installed here: doubles of them (`program_doubles`) read the input files and
answer in their output formats, which are made up.
"""

import contextlib
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress
from helpers import program_doubles

from ase_bayesel.errors import CommandError, EngineError, NotConvergedError
from ase_bayesel.labelling.engines import (
    AimsEngine,
    CastepEngine,
    OrcaEngine,
    VaspEngine,
    program,
    settings_hash,
)

ALL = ("energy", "forces", "stress")


def crystal():
    """Ten atoms, the elements mixed; with what a walker leaves on a structure."""
    rng = np.random.default_rng(0)
    atoms = Atoms(
        "GaAsGaAsAsSiGaSiAsGa",
        rng.uniform(0, 9, (10, 3)),
        cell=9 * np.eye(3) + rng.uniform(-0.5, 0.5, (3, 3)),
        pbc=True,
    )
    atoms.set_momenta(rng.normal(size=(10, 3)))
    atoms.set_tags(71)
    atoms.set_initial_charges(rng.normal(size=10))
    atoms.set_initial_magnetic_moments(rng.normal(size=10))
    atoms.set_constraint(FixAtoms([0, 3]))
    return atoms


def water():
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=1)
    atoms.set_tags(71)
    return atoms


def vasp(folder):
    for name in ("Ga_d", "As", "Si"):
        (folder / name).mkdir(parents=True)
        (folder / name / "POTCAR").write_text(f"  PAW_PBE {name} 01Jan2000\n")
    return VaspEngine(
        {"xc": "PBE", "encut": 300, "kpts": [2, 2, 3], "gamma": True, "sigma": 0.1},
        ({"algo": "All", "nelm": 200},),
        pp_path=folder,
        potentials={"Ga": "Ga_d", "As": "As", "Si": "Si"},
    )


def castep(folder):
    for name in ("Ga.usp", "As.usp", "Si.usp"):
        (folder / name).write_text(name)
    return CastepEngine(
        {
            "param": {"xc_functional": "PBE", "cut_off_energy": 300},
            "cell": {"kpoints_mp_spacing": 0.05},
        },
        ({"param": {"mixing_scheme": "Pulay"}},),
        pseudopotentials={s: folder / f"{s}.usp" for s in ("Ga", "As", "Si")},
    )


def orca(folder):
    return OrcaEngine(
        {"simple": "PBE def2-SVP", "blocks": ["%scf maxiter 50 end"]},
        ({"simple": "PBE def2-SVP SlowConv"},),
    )


def aims(folder):
    for number, element in ((31, "Ga"), (33, "As"), (14, "Si")):
        (folder / f"{number}_{element}_default").write_text(f"  species {element}\n")
    return AimsEngine(
        {"xc": "pbe", "relativistic": "atomic_zora scalar", "k_grid": [2, 2, 2]},
        ({"sc_iter_limit": 500},),
        species_dir=folder,
    )


ENGINES = {"vasp": vasp, "castep": castep, "orca": orca, "aims": aims}
FILES = {"vasp": "Si/POTCAR", "castep": "Si.usp", "aims": "14_Si_default"}


@pytest.fixture(params=ENGINES)
def kind(request):
    return request.param


@pytest.fixture
def engine(kind, tmp_path):
    folder = tmp_path / "potentials"
    folder.mkdir()
    return ENGINES[kind](folder)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def acting(engine, mode, *more):
    """The engine with the double in the place of its program."""
    script = program_doubles.__file__
    return replace(engine, command=(sys.executable, script, engine.kind, mode, *more))


def structure(engine):
    return water() if engine.kind == "orca" else crystal()


@pytest.fixture
def in_process(monkeypatch):
    """The doubles run in this process, which is faster."""

    def run(command, directory, output, *_):
        with (
            contextlib.chdir(directory),
            open(output, "w") as out,
            contextlib.redirect_stdout(out),
        ):
            code = program_doubles.act(*command[2:])
        if code:
            raise CommandError(f"exit code {code}")

    monkeypatch.setattr(program, "run_program", run)


# reading


@pytest.mark.parametrize("mode", ["ok", "failed"])
def test_in_a_process_of_its_own(engine, directory, mode):
    engine = acting(engine, mode)
    if mode == "ok":
        found = engine.evaluate(structure(engine), directory, 0, ALL)
        assert found.energy == pytest.approx(program_doubles.FREE_ENERGY, abs=1e-9)
    else:
        with pytest.raises(NotConvergedError):
            engine.evaluate(structure(engine), directory, 0, ALL)


@pytest.mark.usefixtures("in_process")
def test_results_in_the_order_of_the_atoms(engine, directory):
    atoms = structure(engine)
    before = atoms.copy()
    found = acting(engine, "ok").evaluate(atoms, directory, 0, ALL)
    assert found.energy == pytest.approx(program_doubles.FREE_ENERGY, abs=1e-9)
    np.testing.assert_allclose(found.forces, 0.1 * atoms.positions, atol=1e-9)
    if engine.kind != "orca":
        expected = full_3x3_to_voigt_6_stress(program_doubles.STRESS)
        np.testing.assert_allclose(found.stress, expected, atol=1e-9)
    assert found.version.startswith(engine.kind)
    assert any(character.isdigit() for character in found.version)
    assert atoms == before


@pytest.mark.usefixtures("in_process")
def test_only_what_is_asked_for(engine, directory):
    found = acting(engine, "ok").evaluate(structure(engine), directory, 0, ["energy"])
    assert found.forces is None
    assert found.stress is None


@pytest.mark.usefixtures("in_process")
def test_no_stress_without_three_periodic_directions(kind, engine, directory):
    atoms = structure(engine)
    atoms.pbc = (True, True, False) if kind != "orca" else False
    assert acting(engine, "ok").evaluate(atoms, directory, 0, ALL).stress is None


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("mode", ["unconverged", "failed", "silent"])
def test_not_converged(kind, engine, directory, mode):
    if (kind, mode) == ("castep", "silent"):
        pytest.skip("CASTEP always says so")
    with pytest.raises(NotConvergedError, match=kind):
        acting(engine, mode).evaluate(structure(engine), directory, 0, ALL)


@pytest.mark.usefixtures("in_process")
def test_ended_early(engine, directory):
    with pytest.raises(EngineError, match="ended early"):
        acting(engine, "early").evaluate(structure(engine), directory, 0, ALL)


def test_a_crash_is_no_convergence_failure(engine, directory):
    crash = (sys.executable, "-c", "import sys; sys.exit(3)")
    with pytest.raises(CommandError, match="exit code 3"):
        replace(engine, command=crash).evaluate(structure(engine), directory, 0, ALL)


@pytest.mark.usefixtures("in_process")
def test_castep_with_dispersion(tmp_path, directory):
    """ASE's reader leaves it out of the energy; the forces have it."""
    (tmp_path / "potentials").mkdir()
    engine = acting(castep(tmp_path / "potentials"), "ok", "dispersion")
    found = engine.evaluate(crystal(), directory, 0, ALL)
    assert found.energy == program_doubles.FREE_ENERGY + program_doubles.DISPERSION


# what is missing


def test_all_is_there(engine):
    elements = ["H", "O"] if engine.kind == "orca" else ["As", "Ga", "Si"]
    assert acting(engine, "ok").missing(elements) == []


def test_no_program(engine):
    (problem,) = replace(engine, command=("no-such-program", "-x")).missing([])
    assert "no-such-program" in problem


def test_no_file(kind, engine, tmp_path):
    if kind == "orca":
        return
    path = tmp_path / "potentials" / FILES[kind]
    path.unlink()
    (problem,) = acting(engine, "ok").missing(["As", "Si"])
    assert str(path) in problem


def test_unknown_element(engine):
    if engine.kind == "orca":
        return
    (problem,) = acting(engine, "ok").missing(["Si", "Og"])
    assert "Og" in problem


def test_required_and_reserved_parameters(engine):
    assert len(acting(replace(engine, parameters={}), "ok").missing([])) == len(engine.required)
    for name in engine.reserved:
        first, _, rest = name.partition(".")
        wrong = {first.upper(): {rest: 1} if rest else 1}
        (problem,) = acting(replace(engine, fallbacks=(wrong,)), "ok").missing([])
        assert problem.startswith(f"{name}: ")


# identity


def test_identity_is_json_and_counts_what_decides(kind, engine, tmp_path):
    names = {settings_hash(engine.identity(0), ALL), settings_hash(engine.identity(1), ALL)}
    assert len(names) == 2
    assert settings_hash(replace(engine, parameters={}).identity(), ALL) not in names
    if kind == "orca":
        assert replace(engine, processes=8).identity() == engine.identity()
    elsewhere = replace(
        engine, command=("mpirun", "x"), environment={"A": "b"}, time_limit_h=9.0 / 3600
    )
    assert elsewhere.identity() == engine.identity()
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert str(tmp_path) not in json.dumps(engine.identity())
    if kind in FILES:
        path = tmp_path / "potentials" / FILES[kind]
        path.write_text("another")
        assert settings_hash(engine.identity(0), ALL) not in names


def test_potentials_may_lie_anywhere(kind, tmp_path):
    engines = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        engines.append(ENGINES[kind](folder))
    assert engines[0].identity() == engines[1].identity()


# written files


def written(engine, directory, atoms, properties=ALL, attempt=0):
    return engine.write(atoms.copy(), directory, engine.parameters_of(attempt), properties)


def test_vasp_input(tmp_path, directory, monkeypatch):
    monkeypatch.setenv("VASP_PP_PATH", "/nowhere")
    monkeypatch.setenv("VASP_PP_VERSION", "54")
    engine = replace(vasp(tmp_path / "potentials"), magnetic_moments={"Ga": 2.0})
    atoms = crystal()
    assert written(engine, directory, atoms) == []
    incar = dict(
        line.replace(" ", "").split("=", 1)
        for line in (directory / "INCAR").read_text().splitlines()
        if "=" in line
    )
    expected = {"ENCUT": "300.000000", "GGA": "PE", "NSW": "0", "IBRION": "-1", "ISIF": "2"}
    expected |= {"EDIFF": "1.00e-06", "PREC": "Accurate", "LREAL": ".FALSE.", "ISPIN": "2"}
    expected |= {"LWAVE": ".FALSE.", "LCHARG": ".FALSE.", "SIGMA": "0.100000"}
    assert expected.items() <= incar.items()
    assert incar["MAGMOM"] == "4*2.00006*0.0000"
    assert "Gamma" in (directory / "KPOINTS").read_text()
    assert "2 2 3" in (directory / "KPOINTS").read_text()
    potcar = (directory / "POTCAR").read_text().split("\n")
    assert [line.split()[1] for line in potcar if line] == ["Ga_d", "As", "Si"]
    poscar = read(directory / "POSCAR")
    assert str(poscar.symbols) == "Ga4As4Si2"
    assert not poscar.constraints
    np.testing.assert_allclose(poscar.positions[:4], atoms.positions[atoms.symbols == "Ga"])


def test_vasp_gets_right_handed_cells(tmp_path, directory):
    """VASP refuses a negative triple product. Lattice, atoms and grid are those of the other."""
    atoms = crystal()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell.array) < 0
    written(vasp(tmp_path / "potentials"), directory, atoms)
    poscar = read(directory / "POSCAR")
    assert np.linalg.det(poscar.cell.array) > 0
    np.testing.assert_allclose(poscar.cell.array, -atoms.cell.array, atol=1e-12)
    gallium = atoms[atoms.symbols == "Ga"]
    apart = poscar.positions[: len(gallium)] - gallium.positions
    steps = apart @ np.linalg.inv(atoms.cell.array)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert "2 2 3" in (directory / "KPOINTS").read_text()


def test_vasp_other_attempt_and_no_stress(tmp_path, directory):
    engine = vasp(tmp_path / "potentials")
    written(engine, directory, crystal(), ("energy", "forces"), attempt=1)
    incar = (directory / "INCAR").read_text()
    assert "ALGO = All" in incar
    assert "NELM = 200" in incar
    assert "ISIF = 0" in incar
    assert "MAGMOM" not in incar


def test_vasp_lda_takes_the_folder_that_is_given(tmp_path, directory):
    engine = vasp(tmp_path / "potentials")
    engine = replace(engine, parameters={"xc": "LDA", "encut": 300, "kspacing": 0.3})
    written(engine, directory, crystal())
    assert "Ga_d" in (directory / "POTCAR").read_text()
    assert not (directory / "KPOINTS").exists()


@pytest.mark.parametrize("make", [vasp, castep])
def test_a_cell_is_needed(make, tmp_path, directory):
    (tmp_path / "potentials").mkdir()
    engine = acting(make(tmp_path / "potentials"), "ok")
    with pytest.raises(EngineError, match="cell"):
        engine.evaluate(Atoms("Si2", [[0, 0, 0], [0, 0, 2]]), directory, 0, ALL)


def test_castep_input(tmp_path, directory):
    (tmp_path / "potentials").mkdir()
    engine = replace(castep(tmp_path / "potentials"), magnetic_moments={"Si": 1.5})
    atoms = crystal()
    assert written(engine, directory, atoms, attempt=1) == ["label"]
    param = (directory / "label.param").read_text().splitlines()
    assert {
        "task : SinglePoint",
        "calculate_stress : True",
        "xc_functional : PBE",
        "cut_off_energy : 300",
        "elec_energy_tol : 1e-07",
        "mixing_scheme : Pulay",
    } <= set(param)
    text = (directory / "label.cell").read_text()
    assert "kpoints_mp_spacing : 0.05\n" in text
    assert "%BLOCK species_pot\nGa Ga.usp\nAs As.usp\nSi Si.usp\n%ENDBLOCK species_pot\n" in text
    assert (directory / "Si.usp").read_text() == "Si.usp"
    assert text.count("SPIN=1.5") == 2
    found = read(
        directory / "label.cell", format="castep-cell", calculator_args={"keyword_tolerance": 3}
    )
    assert list(found.symbols) == list(atoms.symbols)
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-11)
    np.testing.assert_allclose(found.cell, atoms.cell, atol=1e-11)


def test_castep_makes_its_own_potentials(tmp_path, directory):
    (tmp_path / "potentials").mkdir()
    engine = castep(tmp_path / "potentials")
    cell = {"kpoints_mp_grid": "2 2 2", "species_pot": ["C19"]}
    engine = replace(engine, pseudopotentials={}, parameters={**engine.parameters, "cell": cell})
    written(engine, directory, crystal())
    text = (directory / "label.cell").read_text()
    assert "%BLOCK species_pot\nC19\n%ENDBLOCK species_pot\n" in text
    assert acting(engine, "ok").missing(["Si", "Og"]) == []


def test_orca_input(directory):
    engine = replace(orca(None), parameters={"simple": "PBE def2-SVP", "charge": 1, "mult": 2})
    atoms = water()
    assert written(engine, directory, atoms, ("energy", "forces")) == ["orca.inp"]
    text = (directory / "orca.inp").read_text()
    assert text.startswith("! PBE def2-SVP EnGrad")
    assert "*xyz 1 2" in text
    assert ":" not in text  # tag 71 makes a ghost atom in ASE
    found = [[float(x) for x in line.split()[1:]] for line in text.splitlines()[-4:-1]]
    np.testing.assert_array_equal(found, atoms.positions)


def test_orca_keeps_blocks_and_engrad(directory):
    parameters = {"simple": "HF engrad", "blocks": ["%a end", "%b end"]}
    written(replace(orca(None), parameters=parameters, processes=4), directory, water())
    text = (directory / "orca.inp").read_text()
    assert text.startswith("! HF engrad \n%pal nprocs 4 end\n%a end\n%b end")


def test_orca_refuses_periodic_structures(directory):
    with pytest.raises(EngineError, match="periodic"):
        acting(orca(None), "ok").evaluate(crystal(), directory, 0, ALL)


def test_aims_input(tmp_path, directory, monkeypatch):
    monkeypatch.setenv("AIMS_SPECIES_DIR", "/nowhere")
    (tmp_path / "potentials").mkdir()
    engine = replace(aims(tmp_path / "potentials"), magnetic_moments={"Si": 1.5})
    atoms = crystal()
    written(engine, directory, atoms)
    control = (directory / "control.in").read_text()
    for line in ("xc  pbe", "k_grid 2 2 2", "compute_forces .true.", "relativistic atomic_zora"):
        assert " ".join(line.split()) in " ".join(control.split())
    assert "compute_analytical_stress" in control
    assert control.count("  species ") == 3
    geometry = (directory / "geometry.in").read_text()
    assert "velocity" not in geometry
    assert "constrain" not in geometry
    assert "charge" not in geometry
    assert geometry.count("initial_moment") == 2
    with pytest.warns(FutureWarning):
        found = read(directory / "geometry.in", format="aims")
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-12)
    assert list(found.symbols) == list(atoms.symbols)


@pytest.mark.usefixtures("in_process")
def test_aims_molecule(tmp_path, directory):
    (tmp_path / "potentials").mkdir()
    engine = aims(tmp_path / "potentials")
    parameters = {"xc": "pbe", "relativistic": "none"}
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]])
    found = acting(replace(engine, parameters=parameters), "ok").evaluate(atoms, directory, 0, ALL)
    np.testing.assert_allclose(found.forces, 0.1 * atoms.positions, atol=1e-9)
    assert found.stress is None
    assert Path(directory / "aims.out").is_file()
