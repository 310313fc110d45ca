"""``bayesel init`` for a material: what it writes, asks and refuses."""

import os
import pty
import subprocess
import zipfile

import pytest
import yaml
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from helpers.command_line import BAYESEL, ENVIRONMENT, assert_refused, bayesel, call
from helpers.mace_models import needs_mace, save_model, tiny_mace
from typer.main import get_command

from ase_bayesel.campaign.config import PoolConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.cli.init import ENGINES_NAMED
from ase_bayesel.cli.init_text import engine_names
from ase_bayesel.cli.material import Material
from ase_bayesel.cli.shared import COMMANDS, app
from ase_bayesel.labelling.engines import ENGINES
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.labels import PropertyKeys

SLAB = fcc111("Cu", (2, 2, 4), vacuum=6.0)
SLAB.pbc = (True, True, False)
SLAB.info = {}


def written(folder, *options, name="mine.yaml"):
    """The config that the command writes, loaded, and what it says."""
    result = call("init", folder / name, *options)
    assert result.exit_code == 0, result.output
    raw = yaml.safe_load((folder / name).read_text())
    schema = {"schema": PoolConfig} if "recipes" in raw else {}
    return load_config(folder / name, **schema), result.output


def structure(folder, atoms, name="given.xyz"):
    write(folder / name, atoms)
    return folder / name


def test_copper_is_ready_to_run(tmp_path):
    config, said = written(tmp_path, "--elements", "Cu", "--engine", "emt")
    starts = read_frames(tmp_path / "mine_starts.extxyz")
    assert [len(atoms) for atoms in starts] == [32]
    assert config.explore.starts == tmp_path / "mine_starts.extxyz"
    assert config.descriptor.elements == ("Cu",)
    assert (config.descriptor.order, config.descriptor.totaldegree) == (3, 12)
    assert config.data.bootstrap.strained > 0
    assert config.data.virial_key == "REF_virial"
    assert [move.kind for move in config.explore.moves] == ["cell"]
    assert f"next: bayesel validate {tmp_path / 'mine.yaml'}" in said
    result = call("validate", tmp_path / "mine.yaml")
    assert result.exit_code == 0, result.output
    assert "starts 1, bootstrap 26, bootstrap_test 10" in result.output


def test_a_training_set_that_is_there_is_taken(tmp_path):
    frames = [bulk("Cu", cubic=True) for _ in range(8)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    train, test = structure(tmp_path, frames[:6], "t.xyz"), structure(tmp_path, frames[6:], "h.xyz")
    options = ("--elements", "Cu", "--engine", "emt", "--train", train)
    config, _ = written(tmp_path, *options, "--test", test)
    assert (config.data.train, config.data.test, config.data.bootstrap) == (train, test, None)
    assert config.data.keys == PropertyKeys("REF_energy", "REF_forces")
    assert config.data.e0s == "average"
    assert config.descriptor.totaldegree == 9  # of 72 numbers
    result = call("validate", tmp_path / "mine.yaml")
    assert result.exit_code == 0, result.output
    assert "train 6" in result.output
    alone = Atoms("Cu", cell=[20, 20, 20], pbc=True, info={"energy": -0.1})
    bare = [atoms.copy() for atoms in frames[:2]]
    for atoms in bare:
        atoms.info = {"energy": atoms.info["REF_energy"]}
        del atoms.arrays["REF_forces"]
    structure(tmp_path, [alone, *bare], "t.xyz")
    config, _ = written(tmp_path, *options, name="other.yaml")
    assert config.data.e0s == "isolated"
    assert config.data.keys == PropertyKeys("energy", None)
    structure(tmp_path, [bulk("Cu")], "t.xyz")
    result = call("init", tmp_path / "third.yaml", *options)
    assert_refused(result, f"{train}: no structure carries an energy", "bayesel label")
    assert not (tmp_path / "third.yaml").exists()
    for words in (("--job", "pool", "--train", train), ("--engine", "emt", "--test", test)):
        assert_refused(call("init", tmp_path / "third.yaml", "--elements", "Cu", *words), words[-2])


def test_water_has_guards_short_steps_and_no_cell_moves(tmp_path):
    given = structure(tmp_path, molecule("H2O"))
    config, _ = written(tmp_path, "--structure", given, "--engine", "tblite")
    assert config.explore.timestep_fs == 0.5
    assert config.explore.temperature_K == 600
    assert config.explore.guards.lost_atoms == 2.0
    assert config.explore.moves == ()
    assert config.explore.pressure_GPa is None
    assert config.data.virial_key is None
    assert config.data.bootstrap.strained == 0
    assert config.engine.method == "GFN2-xTB"


def test_crystals_are_displaced_as_far_as_their_engine_converges(tmp_path):
    config, _ = written(tmp_path, "--elements", "Si", "--engine", "tblite")
    assert config.data.bootstrap.amplitudes_A == (0.03, 0.06, 0.12)
    assert config.engine.fallbacks == ()
    config, _ = written(tmp_path, "--elements", "Cu", "--engine", "emt", name="other.yaml")
    assert config.data.bootstrap.amplitudes_A == (0.05, 0.1, 0.2)


def test_first_labels_of_silicon_by_xtb_converge(tmp_path):
    """The farthest that `init` displaces atoms by, which 0.2 A did not."""
    config, _ = written(tmp_path, "--elements", "Si", "--engine", "tblite")
    starts = [bulk("Si", cubic=True)]
    frames = config.data.bootstrap.training(starts, config.seed, config.explore.guards)
    farthest = [atoms for atoms in frames if atoms.info["config_type"] == "rattle"][2::3]
    assert len(farthest) == 5
    labelled(farthest, config.engine, PropertyKeys("energy", "forces"))


def test_an_alloy_swaps_atoms_and_has_fewer_degrees(tmp_path):
    config, _ = written(tmp_path, "--elements", "Cu,Au", "--engine", "emt")
    assert [move.kind for move in config.explore.moves] == ["cell", "swap"]
    assert config.descriptor.totaldegree < 12
    assert len(read_frames(config.explore.starts)) == 3
    assert call("validate", tmp_path / "mine.yaml").exit_code == 0


def test_a_slab_keeps_its_cell_and_its_atoms(tmp_path):
    given = structure(tmp_path, SLAB)
    config, _ = written(tmp_path, "--structure", given, "--engine", "emt")
    assert config.explore.moves == ()
    assert config.explore.guards.lost_atoms == 2.0
    assert config.data.bootstrap.strained > 0
    assert call("validate", tmp_path / "mine.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("symbol", "timestep_fs"), [("H", 0.5), ("Li", 1.0), ("Si", 2.0), ("Cu", 3.0)]
)
def test_the_timestep_is_that_of_the_lightest_atom(symbol, timestep_fs):
    assert Material([Atoms(["Au", symbol])]).timestep_fs == timestep_fs


def test_the_degree_falls_with_elements_and_data():
    def size(*elements):
        cell = bulk("Cu", cubic=True) * 2
        cell.symbols = [elements[k % len(elements)] for k in range(len(cell))]
        return Material([cell]).ace

    one, two, three, four = (size(*["Cu", "Au", "Ag", "Ni"][:n]) for n in range(1, 5))
    assert one.totaldegree > two.totaldegree
    assert three.totaldegree >= four.totaldegree
    assert [s.embedding is None for s in (one, two, three, four)] == [True, True, False, False]
    assert all(s.n_features <= 1200 for s in (one, two, three, four))
    assert Material([bulk("Cu")]).ace.n_features < one.n_features


def test_packed_molecules_are_not_heated_so_far():
    crystal = bulk("Cu", cubic=True)
    crystal.symbols[0] = "H"
    assert Material([crystal]).temperature_K == 300
    assert Material([molecule("H2O")]).temperature_K == 600


def test_held_atoms_forbid_moves_of_the_cell():
    held = bulk("Cu", cubic=True)
    held.set_constraint(FixAtoms([0]))
    assert not Material([held]).moves_cell
    assert Material([bulk("Cu", cubic=True)]).moves_cell


def test_thin_cells_are_noted(tmp_path):
    given = structure(tmp_path, [bulk("Cu"), bulk("Cu", cubic=True) * 2])
    _, said = written(tmp_path, "--structure", given, "--engine", "emt")
    assert "note: start 0 (Cu) is a cell of 2.1 A at its thinnest" in said
    assert "start 1" not in said
    several = Material([bulk("Cu"), bulk("Al"), bulk("Cu", cubic=True) * 2])
    (told,) = several.notes()
    assert told.startswith("start 0 (Cu)")
    assert "and 1 more are below 5 A" in told


def test_the_help_names_every_engine_and_commands_in_their_order():
    assert engine_names() == ENGINES_NAMED
    listed = [*get_command(app).list_commands(None)]
    assert listed == [*COMMANDS]


@pytest.mark.parametrize("engine", engine_names())
def test_every_engine_gives_a_config_that_loads(tmp_path, engine):
    atoms = molecule("H2O") if engine == "orca" else bulk("Al", cubic=True)
    given = structure(tmp_path, atoms)
    config, said = written(tmp_path, "--structure", given, "--engine", engine)
    assert config.engine.kind == ("import" if engine == "emt" else engine)
    assert config.engine.faults() == []
    assert ("edit what is marked so" in said) == (engine not in ("emt", "tblite"))


def test_there_is_a_text_for_every_engine():
    assert set(engine_names()) == {"emt", *(cls.kind for cls in ENGINES)}


@pytest.mark.parametrize("engine", ["espresso", "abinit"])
def test_engines_that_need_periodicity_have_no_isolated_atoms(tmp_path, engine):
    config, _ = written(tmp_path, "--elements", "Si", "--engine", engine)
    assert config.data.e0s == "average"
    assert not config.data.bootstrap.isolated
    text = (tmp_path / "mine.yaml").read_text()
    assert f"e0s: average                 # {engine} computes nothing without periodicity" in text


def test_labels_by_hand_come_with_structures_to_label(tmp_path):
    config, said = written(tmp_path, "--elements", "Cu", "--job", "by-hand")
    assert config.engine is None
    assert "mine_first.extxyz (REF_energy in eV, REF_forces in eV/A), write them to" in said
    first = read_frames(tmp_path / "mine_first.extxyz")
    assert len(first) == 26
    assert_refused(call("validate", tmp_path / "mine.yaml"), "mine_train.extxyz", "no such file")
    for k, atoms in enumerate(first):
        atoms.info["REF_energy"] = -float(k % 2)
        atoms.arrays["REF_forces"] = 0.0 * atoms.positions
    write(tmp_path / "mine_train.extxyz", first)
    assert call("validate", tmp_path / "mine.yaml").exit_code == 0


def test_a_pool_is_made_of_what_it_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, said = written(tmp_path, "--elements", "Cu,Au", "--job", "pool")
    assert isinstance(config, PoolConfig)
    assert f"next: bayesel pool {tmp_path / 'mine.yaml'} -o pool.xyz" in said
    kinds = [recipe.kind for recipe in config.recipes]
    assert kinds == ["rattle", "strain", "volume_scan", "vacancies", "swaps"]
    short = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    short["recipes"] = [{**recipe, "copies": 1} for recipe in short["recipes"][:2]]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(short))
    result = call("pool", tmp_path / "mine.yaml", "-o", tmp_path / "pool.xyz")
    assert result.exit_code == 0, result.output
    assert len(read_frames(tmp_path / "pool.xyz")) == 3 * (3 + 1)
    _, said = written(tmp_path, "--elements", "Cu", "--job", "pool", name="other.yaml")
    assert said.endswith("-o pool_2.xyz\n")


def test_a_mace_model_is_explored_with_and_tuned(tmp_path):
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "my.model"
    model.write_bytes(b"-")
    options = ("--elements", "Si", "--engine", "tblite", "--mace", model)
    config, _ = written(tmp_path, *options)
    assert config.potential.model == str(model)
    assert "model: models/my.model" in (tmp_path / "mine.yaml").read_text()
    assert (config.descriptor.kind, config.refit.kind) == ("mace", "mace")
    named, _ = written(tmp_path, *options[:4], "--mace", "mace_mp:medium", name="other.yaml")
    assert named.potential.model == "mace_mp:medium"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--elements", "Cu"), "--engine: say what labels: emt for a trial"),
        (("--engine", "emt"), "give one of --elements and --structure"),
        (("--elements", "Cu", "--structure", "x.xyz", "--engine", "emt"), "and not both"),
        (("--structure", "nowhere.xyz", "--engine", "emt"), "nowhere.xyz: no such file"),
        (("--elements", "Cu", "--engine", "emtt"), "--engine emtt: is none of emt"),
        (("--elements", "Fe", "--engine", "emt"), "--engine emt: does not know Fe"),
        (("--elements", "Cu", "--engine", "orca"), "--engine orca: computes molecules alone"),
        (("--elements", "Na,Cl", "--engine", "tblite"), "give a structure (--structure)"),
        (("--elements", ",", "--engine", "emt"), "--elements: names none"),
        (("--elements", "Cu", "--job", "mace", "--engine", "emt"), "--job mace: needs --mace"),
        (("--elements", "Cu", "--mace", "no.model", "--engine", "emt"), "no.model: no such file"),
        (("--elements", "Cu", "--job", "pool", "--engine", "emt"), "--engine: has no use"),
        (("--elements", "Cu", "--job", "pool", "--mace", "mace_mp:small"), "--mace: has no use"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path, options, told):
    assert_refused(call("init", tmp_path / "mine.yaml", *options), told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("atoms", "told"),
    [
        (bulk("Si", cubic=True), "tblite (xTB) for a trial, espresso or another DFT program"),
        (molecule("H2O"), "tblite (xTB) for a trial, a DFT program, as orca"),
        (bulk("U", "bcc", a=3.5, cubic=True), "what labels: espresso or another DFT program"),
    ],
)
def test_an_engine_is_recommended(tmp_path, atoms, told):
    refused = call("init", tmp_path / "mine.yaml", "--structure", structure(tmp_path, atoms))
    assert_refused(refused, told, "or --job by-hand", "All engines: emt, tblite, espresso")


def test_the_help_wraps_its_paragraphs_itself():
    for name, command in get_command(app).commands.items():
        for paragraph in command.help.split("\n\n"):
            assert "\n" not in paragraph, name


@needs_mace
def test_a_mace_model_has_to_know_the_elements(tmp_path):
    model = tmp_path / "my.model"
    save_model(tiny_mace(), model)
    options = ("--elements", "Si", "--engine", "tblite", "--mace", model)
    told = f"--mace {model}: knows Cu, but not Si of the starts"
    assert_refused(call("init", tmp_path / "mine.yaml", *options), told)
    assert not (tmp_path / "mine.yaml").exists()
    written(tmp_path, "--elements", "Cu", *options[2:])
    given = structure(tmp_path, bulk("Si", cubic=True))
    config = (tmp_path / "mine.yaml").read_text().replace("mine_starts.extxyz", given.name)
    (tmp_path / "mine.yaml").write_text(config)
    told = f"given.xyz, frame 0: element Si is not among those that the model {model} knows: Cu"
    assert_refused(call("validate", tmp_path / "mine.yaml"), told)


def test_a_compiled_model_is_refused(tmp_path):
    """As mace_run_train writes it beside the one that is wanted."""
    with zipfile.ZipFile(tmp_path / "my_compiled.model", "w") as archive:
        archive.writestr("my_compiled/code/__torch__/mace/modules/models.py", "")
    options = ("--elements", "Cu", "--engine", "emt", "--mace", tmp_path / "my_compiled.model")
    refused = call("init", tmp_path / "mine.yaml", *options)
    assert_refused(refused, "TorchScript", "without _compiled in its name\n")
    (tmp_path / "my.model").write_bytes(b"-")
    refused = call("init", tmp_path / "mine.yaml", *options)
    assert_refused(refused, f"without _compiled in its name, {tmp_path / 'my.model'}")


def test_a_molecule_for_plane_waves_is_refused(tmp_path):
    given = structure(tmp_path, molecule("H2O"))
    options = ("--structure", given, "--engine", "espresso")
    told = "--engine espresso: needs three periodic directions, which start 0 has not"
    assert_refused(call("init", tmp_path / "mine.yaml", *options), told)


def test_starts_that_are_there_are_not_replaced(tmp_path):
    (tmp_path / "mine_starts.extxyz").write_text("precious")
    result = call("init", tmp_path / "mine.yaml", "--elements", "Cu", "--engine", "emt")
    assert_refused(result, "mine_starts.extxyz: exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["mine_starts.extxyz"]
    assert (tmp_path / "mine_starts.extxyz").read_text() == "precious"


def answered(folder, *answers):
    """What the command says at a terminal at which these lines are typed."""
    ours, theirs = pty.openpty()
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    command = [BAYESEL, "init", str(folder / "mine.yaml")]
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    return load_config(folder / "mine.yaml"), done.stdout


@pytest.mark.slow
def test_at_a_terminal_it_asks(tmp_path):
    config, said = answered(tmp_path, "Cu", "", "emt")
    assert said.count("What") == 2
    assert config.engine.factory == "ase.calculators.emt:EMT"
    assert config.data.bootstrap is not None


@pytest.mark.slow
def test_an_empty_answer_gives_the_config_with_every_key(tmp_path):
    config, said = answered(tmp_path, "")
    assert "edit it, then: bayesel validate" in said
    assert config.data.bootstrap is None


def test_away_from_a_terminal_it_never_asks(tmp_path):
    result = bayesel("init", tmp_path / "mine.yaml")
    assert result.returncode == 0
    assert result.stdout.startswith("wrote ")
    assert load_config(tmp_path / "mine.yaml").data.bootstrap is None
