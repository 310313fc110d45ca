"""What the three DFT engines promise, each asked of the real program where it is installed."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io.espresso import kspacing_to_grid
from helpers.dft_engines import (
    ABINIT,
    CP2K,
    ESPRESSO,
    check_forces,
    check_stress,
    evaluated,
    needs_abinit,
    needs_cp2k,
    needs_espresso,
    silicon_pair,
)
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel.errors import (
    CommandError,
    ConfigError,
    EngineError,
    MissingProgramError,
    NotConvergedError,
    TimeLimitError,
)
from ase_bayesel.labelling.engines.base import merged, settings_hash
from ase_bayesel.labelling.reference import Reference

HYDROGEN = molecule("H2", cell=[5.0, 5.0, 5.0], pbc=False)
CASES = {
    "espresso": (ESPRESSO, silicon_pair(), ("electrons", "electron_maxstep"), needs_espresso),
    "abinit": (ABINIT, silicon_pair(), ("nstep",), needs_abinit),
    "cp2k": (CP2K, HYDROGEN, ("FORCE_EVAL", "DFT", "SCF", "MAX_SCF"), needs_cp2k),
}
programs = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=case[-1]) for name, case in CASES.items()]
)
engines = pytest.mark.parametrize("engine", [ESPRESSO, ABINIT, CP2K], ids=lambda one: one.kind)


def nested(path, value):
    for name in reversed(path):
        value = {name: value}
    return value


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """ReferenceResult and directory of each program, run once."""
    runs = {}

    def run(name):
        if name not in runs:
            engine, atoms, *_ = CASES[name]
            directory = tmp_path_factory.mktemp(name)
            runs[name] = evaluated(engine, atoms, directory), directory / "run0"
        return runs[name]

    return run


@pytest.mark.slow
@programs
def test_forces_are_the_slope_of_the_energy(name, finished, tmp_path):
    engine, atoms, *_ = CASES[name]
    found, _ = finished(name)
    assert found.forces.shape == (2, 3)
    check_forces(engine, atoms, found, tmp_path, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=CASES[n][-1]) for n in list(CASES)[:2]])
def test_stress_is_the_slope_of_the_energy(name, finished, tmp_path):
    engine, atoms, *_ = CASES[name]
    check_stress(engine, atoms, finished(name)[0], tmp_path, 0.01)


@programs
def test_the_program_says_its_version(name, finished):
    pattern = {"espresso": r"espresso PWSCF v\.\d", "abinit": r"abinit \d", "cp2k": r"cp2k \d"}
    assert re.match(pattern[name], finished(name)[0].version)


@programs
def test_only_what_is_asked_for(name, finished, tmp_path):
    engine, atoms, *_ = CASES[name]
    found = evaluated(engine, atoms, tmp_path, properties=["energy"])
    assert found.forces is None
    assert found.stress is None
    assert found.energy == pytest.approx(finished(name)[0].energy, abs=1e-6)


@programs
def test_an_unconverged_cycle_is_a_failure_and_fallbacks_help(name, finished, tmp_path):
    engine, atoms, steps, _ = CASES[name]
    short = replace(
        engine,
        parameters=merged(engine.parameters, nested(steps, 2)),
        fallbacks=(nested(steps, 70),),
    )
    with pytest.raises(NotConvergedError, match=r"says .*(NOT|not)"):
        evaluated(short, atoms, tmp_path)
    assert short.n_attempts == 2
    found = evaluated(short, atoms, tmp_path, attempt=1)
    np.testing.assert_allclose(found.forces, finished(name)[0].forces, atol=1e-4)


@programs
def test_torn_output_is_a_failure(name, finished, tmp_path):
    engine, atoms, *_ = CASES[name]
    found, done = finished(name)
    torn = tmp_path / "torn"
    shutil.copytree(done, torn)
    outputs = [path for path in torn.iterdir() if path.suffix in (".pwo", ".abo", ".out")]
    assert outputs
    again = engine.collected(atoms, torn, ["energy", "forces", "stress"])
    assert again.energy == found.energy
    np.testing.assert_array_equal(again.forces, found.forces)
    for path in outputs:
        path.write_text(path.read_text()[:-4000])
    with pytest.raises(EngineError, match="ended early"):
        engine.collected(atoms, torn, ["energy"])


@programs
def test_a_failing_program_is_quoted(name, tmp_path):
    engine, atoms, *_ = CASES[name]
    wrong, said = {
        "espresso": ({"system": {"nbnd": 1}}, "too few bands"),
        "abinit": ({"nonsense": 1}, "Found token: `NONSENSE`"),
        "cp2k": ({"FORCE_EVAL": {"DFT": {"NONSENSE": 1}}}, "unknown keyword NONSENSE"),
    }[name]
    broken = replace(engine, parameters=merged(engine.parameters, wrong))
    with pytest.raises(CommandError, match=f"{said}.*exit code"):
        evaluated(broken, atoms, tmp_path)


@programs
def test_the_time_limit_holds(name, tmp_path):
    engine, atoms, *_ = CASES[name]
    with pytest.raises(TimeLimitError, match="stopped after"):
        evaluated(replace(engine, time_limit_h=0.05 / 3600), atoms, tmp_path)


@programs
def test_spins_start_where_the_magnetization_says(name, tmp_path):
    engine = CASES[name][0]
    atom = Atoms("H", cell=[4.5, 4.5, 4.5], pbc=name != "cp2k")
    atom.set_initial_magnetic_moments([9.0])  # of a structure, which do not count
    added = {"FORCE_EVAL": {"DFT": {"MULTIPLICITY": 2}}} if name == "cp2k" else {}
    parameters = merged(engine.parameters, added)
    free = replace(engine, parameters=parameters, kpts=(1, 1, 1), magnetic_moments={"H": 0.8})
    closed = replace(free, magnetic_moments={})
    found = evaluated(free, atom, tmp_path, properties=["energy"])
    if name == "cp2k":
        with pytest.raises(CommandError, match="odd number of electrons"):
            evaluated(closed, atom, tmp_path)
        return
    lost = evaluated(closed, atom, tmp_path, properties=["energy"]).energy - found.energy
    assert 0.3 < lost < 1.5


@engines
def test_a_program_that_is_not_there(engine, tmp_path):
    absent = replace(engine, command=("no-such-program",))
    assert any("no-such-program: no such program" in said for said in absent.missing([]))
    if engine.absent():
        pytest.skip("needs the data of the program")
    with pytest.raises(MissingProgramError, match="no-such-program"):
        evaluated(absent, silicon_pair(), tmp_path)


@pytest.mark.parametrize("engine", [ESPRESSO, ABINIT], ids=lambda one: one.kind)
def test_pseudopotentials_that_are_not_there(engine, tmp_path):
    for name in engine.pseudopotentials.values():
        (tmp_path / name).write_text(name)
    here = replace(engine, pseudo_dir=tmp_path, command=("true",))
    assert here.missing(["H", "Si"]) == []
    assert here.missing(["Si", "Xe"]) == [
        "Xe: no pseudopotential is given (labelling.pseudopotentials)"
    ]
    with pytest.raises(EngineError, match="Xe: no pseudopotential is given"):
        here.checked(Atoms("Xe", cell=[4, 4, 4], pbc=True))
    gone = tmp_path / engine.pseudopotentials["Si"]
    gone.unlink()
    assert here.missing(["H"]) == [f"{gone}: no such file (labelling.pseudopotentials)"]
    with pytest.raises(MissingProgramError, match=str(gone)):
        here.checked(silicon_pair())
    nowhere = replace(here, pseudo_dir=tmp_path / "nowhere")
    assert nowhere.missing(["H"]) == [
        f"{tmp_path}/nowhere: no such directory (labelling.pseudo_dir)"
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "info", "said"),
    [
        pytest.param(
            ESPRESSO,
            {"charge": -1, "spin": 2},
            r"number of electrons += +3\.00 \(up: +2\.00, down: +1\.00\)",
            marks=needs_espresso,
        ),
        pytest.param(
            ABINIT,
            {"charge": -1, "spin": 2},
            r"for spin +1 is .*nelect: +2\.0+\n(.*\n)*?.*for spin +2 is .*nelect: +1\.0+\n",
            marks=needs_abinit,
        ),
        pytest.param(
            CP2K,
            {"charge": 1, "spin": 2},
            r"Number of electrons: +1\n(.*\n)*?.*Number of electrons: +0\n",
            marks=needs_cp2k,
        ),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_the_program_has_as_many_electrons_as_the_structure_says(engine, info, said, tmp_path):
    engine = replace(engine, kpts=(1, 1, 1), magnetic_moments={"H": 0.5})
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5.5], pbc=True, info=info)
    engine.evaluate(atoms, tmp_path, 0, ["energy"])
    assert re.search(said, (tmp_path / engine.output).read_text())


@pytest.mark.parametrize("engine", [ESPRESSO, ABINIT], ids=lambda one: one.kind)
def test_a_link_must_not_lead_out_of_the_folder_of_pseudopotentials(engine, tmp_path):
    folder = tmp_path / "pseudo"
    folder.mkdir()
    (tmp_path / "elsewhere").write_text("a secret")
    (folder / "inside").write_text("a pseudopotential")
    files = {"pseudo_dir": folder, "pseudopotentials": {"Si": "link"}, "command": ("true",)}
    engine = replace(engine, **files)
    (folder / "link").symlink_to(folder / "inside")
    assert engine.missing(["Si"]) == []
    (folder / "link").unlink()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (told,) = engine.missing(["Si"])
    assert told.startswith(f"{folder / 'link'}: a symbolic link leads out of the folder")
    with pytest.raises(MissingProgramError, match="leads out of the folder"):
        engine.checked(silicon_pair())


@pytest.mark.parametrize("engine", [ESPRESSO, ABINIT], ids=lambda one: one.kind)
@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_plane_waves_need_three_periodic_directions(engine, pbc, tmp_path):
    atoms = silicon_pair()
    atoms.pbc = pbc
    with pytest.raises(EngineError, match="needs three periodic directions"):
        engine.write(atoms, tmp_path, engine.parameters_of(0), ["energy"])


@pytest.mark.parametrize("engine", [ESPRESSO, ABINIT], ids=lambda one: one.kind)
def test_identity_is_settings_and_content(engine, tmp_path):
    def hashed(one, attempt=0):
        return settings_hash(one.identity(attempt), ["energy"])

    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        for name in engine.pseudopotentials.values():
            (folder / name).write_text(name)
    first = replace(engine, pseudo_dir=here)
    moved = replace(
        engine, pseudo_dir=there, command=("x",), environment={}, time_limit_h=1.0 / 3600
    )
    assert hashed(first) == hashed(moved)
    assert hashed(replace(first, kpts=[2, 2, 2])) == hashed(first)
    others = [
        replace(first, kpts=None, kspacing=0.3),
        replace(first, magnetic_moments={"Si": 0.1}),
        replace(first, parameters=merged(first.parameters, {"electrons": {"mixing_beta": 0.1}})),
    ]
    name = engine.pseudopotentials["Si"]
    (there / name).write_text("changed")
    assert len({hashed(one) for one in [first, moved, *others]}) == 5


@pytest.mark.parametrize("engine", [ESPRESSO, ABINIT], ids=lambda one: one.kind)
def test_other_elements_do_not_count(engine, tmp_path):
    """So that campaigns of silicon, and of silicon and carbon, share the labels of silicon."""
    files = {"C": "c.psp", **engine.pseudopotentials}
    for name in files.values():
        (tmp_path / name).write_text(name)
    silicon = replace(engine, pseudo_dir=tmp_path)
    both = replace(silicon, pseudopotentials=files)
    for first, second in (
        (silicon, both),
        (
            replace(silicon, magnetic_moments={"Si": 0.1}),
            replace(both, magnetic_moments={"Si": 0.1, "C": 0.5}),
        ),
    ):
        names = [
            [Reference(one, ("energy",), tmp_path).settings(elements) for one in (first, second)]
            for elements in (["Si"], ["Si", "C"])
        ]
        assert names[0][0] == names[0][1] != names[1][1]
    # the other element still makes the calculation a spin-polarized one
    moments = ({"C": 0.5}, {"Si": 0.0})
    polarized = [replace(both, magnetic_moments=one).only(["Si"]) for one in moments]
    assert polarized[0].identity() == polarized[1].identity() != both.only(["Si"]).identity()


@engines
def test_one_grid_or_one_spacing(engine):
    for wrong in ({"kpts": None}, {"kspacing": 0.2}):
        with pytest.raises(ConfigError, match="one of kpts and kspacing"):
            replace(engine, **wrong)


@engines
def test_what_the_engine_sets_cannot_be_given(engine):
    for name in engine.reserved:
        changes = nested([part.swapcase() for part in name.split(".")], 1)
        for wrong in ({"parameters": changes}, {"fallbacks": ({}, changes)}):
            said = replace(engine, **wrong).missing([])
            assert any(one.startswith(f"{name}: is set by the engine") for one in said)


@engines
def test_defaults_parameters_and_fallbacks(engine):
    fallbacks = (
        {"Mixing": {"Beta": "1e-1"}},
        {"mixing": {"gamma": "1.5D-3", "word": "e1", "n": 60.0}},
    )
    one = replace(engine, parameters={"MIXING": {"beta": 0.7, "on": True}}, fallbacks=fallbacks)
    case = str.upper if one.upper_case else str.lower
    mixing = [one.parameters_of(k)[case("mixing")] for k in range(3)]
    beta, gamma, on, word, n = map(case, ("beta", "gamma", "on", "word", "n"))
    assert mixing[0] == {beta: 0.7, on: True}
    assert mixing[1] == {beta: 0.1, on: True}
    assert mixing[2] == {beta: 0.7, on: True, gamma: 1.5e-3, word: "e1", n: 60}
    assert str(mixing[2][n]) == "60"
    assert set(one.defaults) <= set(one.parameters_of(2))


@given(
    lengths=st.tuples(*3 * [st.floats(1.5, 40.0)]),
    spacing=st.floats(0.05, 3.0),
    pbc=st.tuples(*3 * [st.booleans()]),
)
def test_the_spacing_is_reached_by_the_coarsest_grid(lengths, spacing, pbc):
    engine = replace(ESPRESSO, kpts=None, kspacing=spacing)
    atoms = Atoms("H", cell=lengths, pbc=pbc)
    for n, length, periodic in zip(engine.grid(atoms), lengths, pbc, strict=True):
        reciprocal = 2 * np.pi / length
        assert n >= 1
        if periodic:
            assert reciprocal / n <= spacing * (1 + 1e-6)
            assert n == 1 or reciprocal / (n - 1) > spacing * (1 - 1e-6)
        else:
            assert n == 1


def test_spacing_follows_the_cell():
    engine = replace(ESPRESSO, kpts=None, kspacing=0.4)
    for atoms in (silicon_pair(), silicon_pair() * (1, 2, 3)):
        assert list(engine.grid(atoms)) == kspacing_to_grid(atoms, 0.4 / (2 * np.pi))


def test_paths_are_absolute_in_the_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pseudo").mkdir()
    for name in ABINIT.pseudopotentials.values():
        Path("pseudo", name).touch()
    engine = replace(ABINIT, pseudo_dir=Path("pseudo"))
    engine.write(silicon_pair(), tmp_path, engine.parameters_of(0), ["energy"])
    assert f'"{tmp_path}/pseudo/14si.pspgth"' in (tmp_path / "abinit.abi").read_text()
