import os
import pty
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from helpers.campaigns import copy_campaign, write_campaign, write_config
from helpers.command_line import BAYESEL, ENVIRONMENT, assert_refused, bayesel, call
from helpers.files import hashes
from helpers.pages import FORETOLD, Page, assert_drawn
from helpers.structures import alloy_cells, reference

from ase_bayesel import Campaign, Surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.structures.frames import read_frames, write_frames

ONE_ROUND = {"stop.max_rounds": 1}


def directory(config):
    return config.with_name(f"{config.stem}_campaign")


def store_of(config):
    return Store(directory(config))


@pytest.fixture
def config(tmp_path):
    return write_campaign(tmp_path, ONE_ROUND)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Config of a campaign that ``bayesel run`` has brought to its end."""
    path = write_campaign(tmp_path_factory.mktemp("finished"))
    result = call("run", path)
    assert result.exit_code == 0, result.output
    return path


# init and validate


def test_init_writes_a_config_that_reads(tmp_path):
    path = tmp_path / "mine.yaml"
    result = call("init", path)
    assert result.exit_code == 0
    assert "bayesel validate" in result.output
    assert load_config(path).explore.picks == 5


def test_init_has_a_default_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["bayesel.yaml"]


def test_init_does_not_overwrite(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    assert_refused(call("init", path), path, "exists already")
    assert path.read_text() == "precious"


def test_init_where_there_is_no_folder(tmp_path):
    path = tmp_path / "nowhere" / "mine.yaml"
    assert_refused(call("init", path), path)


def test_template_runs_with_files_of_its_names(tmp_path):
    """What `init` writes, given structures of silicon, passes `validate`."""
    call("init", tmp_path / "mine.yaml")
    frames = [Atoms("Si"), Atoms("Si2", [[0, 0, 0], [0, 0, 2.4]])]
    for atoms in frames:
        atoms.info["REF_energy"] = -1.0 * len(atoms)
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    write(tmp_path / "train.extxyz", frames)
    write(tmp_path / "starts.extxyz", frames[-1])
    result = call("validate", tmp_path / "mine.yaml")
    assert result.exit_code == 0, result.output


def test_validate_tells_what_labels_are_taken_for(tmp_path):
    config = write_campaign(tmp_path, {"data.e0s": "average", "data.virial_key": "REF_virial"})
    frames = read_frames(tmp_path / "train.extxyz")
    del frames[2].info["REF_energy"], frames[2].arrays["REF_forces"], frames[2].info["REF_virial"]
    frames.append(reference(Atoms("Cu")))
    write_frames(tmp_path / "train.extxyz", frames)
    result = call("validate", config)
    assert result.exit_code == 0, result.output
    for told in (
        "labels of 7 structures: energy 6 (REF_energy, eV); forces 6 (REF_forces, eV/A); ",
        "virial 5 (REF_virial, eV)",
        "E0 of Al: ",
        "eV, average over 5 frames",
        "note: 1 structure has no label, for the covariance alone: frames 2",
        "note: isolated atoms whose energies are not the E0s are left out of the fit: frames 6",
    ):
        assert told in result.output


@pytest.mark.slow
def test_a_run_tells_doubts_when_it_begins(tmp_path):
    config = write_campaign(tmp_path, ONE_ROUND)
    frames = read_frames(tmp_path / "train.extxyz")
    del frames[2].info["REF_energy"], frames[2].arrays["REF_forces"]
    write_frames(tmp_path / "train.extxyz", frames)
    assert "note: 1 structure has no label" in call("run", config).output
    assert "note: " not in call("run", config).output


@pytest.mark.parametrize("command", ["validate", "run"])
def test_some_frames_under_misspelt_keys(config, command):
    frames = read_frames(config.with_name("train.extxyz"))
    for atoms in frames[3:]:
        atoms.info["energy_dft"] = atoms.info.pop("REF_energy")
        atoms.arrays["f_dft"] = atoms.arrays.pop("REF_forces")
    write_frames(config.with_name("train.extxyz"), frames)
    result = call(command, config)
    assert_refused(result, "train.extxyz, frame 3", "'REF_energy'", "'energy_dft'")
    assert not directory(config).exists()


@pytest.mark.parametrize("name", ["train", "starts"])
@pytest.mark.parametrize("command", ["validate", "run"])
def test_an_atom_that_is_there_twice(config, name, command):
    path = config.with_name(f"{name}.extxyz")
    frames = read_frames(path)
    frames[1].calc = None
    frames[1].positions[2] = frames[1].positions[0]
    path.write_bytes(b"")
    write(path, frames, format="extxyz")
    assert_refused(call(command, config), f"{name}.extxyz, frame 1", "on top of each other")


@pytest.mark.slow
def test_stresses_train_a_campaign_as_virials_do(tmp_path):
    """Also those of its own labels, which go under the key as it is read."""
    found = []
    for key in ("REF_virial", "REF_stress"):
        folder = tmp_path / key
        config = write_campaign(folder, ONE_ROUND | {"data.virial_key": key})
        frames = read_frames(folder / "train.extxyz")
        for atoms in frames:
            if key == "REF_stress":
                atoms.info[key] = -atoms.info.pop("REF_virial") / atoms.get_volume()
        write_frames(folder / "train.extxyz", frames)
        (folder / "test.extxyz").unlink()
        write_config(folder, ONE_ROUND | {"data.virial_key": key, "data.test": None})
        result = call("run", config)
        assert result.exit_code == 0, result.output
        found.append(vars(load_surrogate(config).noise))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def load_surrogate(config):
    return Surrogate.load(store_of(config).model_path(1))


def test_odd_texts_survive_a_campaign(tmp_path):
    """None of them costs a label, nor the periodicity of a start."""
    config = write_campaign(tmp_path, ONE_ROUND)
    frames = read_frames(tmp_path / "train.extxyz")
    for k, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(
            atoms, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"]
        )
        atoms.info = {"note": "", "title": "two\nlines", "quote": "\"'", "k": k}
    write(tmp_path / "train.traj", frames)
    starts = read_frames(tmp_path / "starts.extxyz")
    for atoms in starts:
        atoms.info["note"] = ""
        atoms.pbc = (True, True, False)
    write(tmp_path / "starts.traj", starts)
    files = {"data.train": "train.traj", "explore.starts": "starts.traj", "data.test": None}
    write_config(
        tmp_path, ONE_ROUND | files | {"data.energy_key": "energy", "data.forces_key": "forces"}
    )
    result = call("run", config)
    assert result.exit_code == 0, result.output
    kept = store_of(config).read_input("train")
    assert [atoms.info["k"] for atoms in kept] == list(range(len(frames)))
    assert all(atoms.info["title"] == "two\nlines" for atoms in kept)
    assert all(atoms.calc.results.keys() == {"energy", "forces"} for atoms in kept)
    for atoms in store_of(config).read_input("starts"):
        assert atoms.pbc.tolist() == [True, True, False]


@pytest.mark.slow
def test_a_batch_to_be_labelled_by_hand_keeps_moments_and_charges(tmp_path):
    config = write_campaign(tmp_path, ONE_ROUND | {"labelling": "none"})
    starts = read_frames(tmp_path / "starts.extxyz")
    for atoms in starts:
        atoms.set_initial_magnetic_moments([1.0, -1.0, 1.0, -1.0])
        atoms.set_initial_charges([0.5, -0.5, 0.25, -0.25])
    write_frames(tmp_path / "starts.extxyz", starts)
    assert call("run", config).exit_code == 0
    batch = store_of(config).batch_path(1)
    for atoms in read_frames(batch):
        assert atoms.get_initial_magnetic_moments().tolist() == [1.0, -1.0, 1.0, -1.0]
        assert atoms.get_initial_charges().tolist() == [0.5, -0.5, 0.25, -0.25]
    write_frames(
        batch.with_name("labelled.extxyz"), [reference(a)[::-1] for a in read_frames(batch)]
    )
    result = call("run", config)
    assert result.exit_code == 0, result.output
    assert store_of(config).read_report(1).n_labels == len(read_frames(batch))


def test_validate_counts_the_structures(config):
    before = hashes(config.parent)
    result = call("validate", config)
    assert result.exit_code == 0
    for count in ("train 6", "starts 2", "test 6"):
        assert count in result.stdout
    assert hashes(config.parent) == before


# bad input


def appended(path, atoms):
    write(path, [*read(path, index=":"), atoms], format="extxyz")


def nan_positions(folder):
    atoms = alloy_cells(1, 0.1, 0)[0]
    atoms.positions[2, 1] = np.nan
    appended(folder / "starts.extxyz", atoms)
    return "starts.extxyz", "frame 2", "atom 2"


def nan_energy(folder):
    atoms = reference(alloy_cells(1, 0.1, 0)[0])
    atoms.info["REF_energy"] = np.nan
    appended(folder / "train.extxyz", atoms)
    return "train.extxyz", "frame 6", "REF_energy"


def foreign_element(folder):
    appended(folder / "starts.extxyz", Atoms("AuCu", [[0, 0, 0], [0, 0, 2.5]]))
    return "starts.extxyz", "frame 2", "Au"


def no_element(folder):
    text = (folder / "train.extxyz").read_text()
    (folder / "train.extxyz").write_text(text.replace("Al ", "Qq ", 1))
    return ("train.extxyz",)


def dummy_element(folder):
    text = (folder / "train.extxyz").read_text()
    (folder / "train.extxyz").write_text(text.replace("Al ", "X  ", 1))
    return "train.extxyz", "frame 0", "element"


def empty_file(folder):
    (folder / "test.extxyz").write_text("")
    return "test.extxyz", "empty"


def no_file(folder):
    (folder / "train.extxyz").unlink()
    return "train.extxyz", "no such file"


def zero_cell(folder):
    text = (folder / "starts.extxyz").read_text()
    (folder / "starts.extxyz").write_text(re.sub(r'Lattice="[^"]*" ', "", text, count=1))
    return "starts.extxyz", "frame 0", "cell is zero"


def truncated(folder):
    path = folder / "train.extxyz"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:20])
    return ("train.extxyz",)


def truncated_between_lines(folder):
    path = folder / "train.extxyz"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    return ("train.extxyz",)


def no_energy_key(folder):
    write_config(folder, {"data.energy_key": "dft_energy", "data.test": None})
    return "train.extxyz", "dft_energy", "data.energy_key"


def no_forces_key(folder):
    write_config(folder, {"data.forces_key": "dft_force"})
    return "dft_force", "data.forces_key"


def no_forces_key_and_no_test_set(folder):
    write_config(folder, {"data.forces_key": "dft_force", "data.test": None})
    return "train.extxyz", "dft_force", "data.forces_key"


def no_virial_key(folder):
    write_config(folder, {"data.virial_key": "dft_virial"})
    return "train.extxyz", "dft_virial", "data.virial_key"


def label_missing(folder):
    atoms = reference(alloy_cells(1, 0.1, 0)[0])
    del atoms.info["REF_energy"]
    appended(folder / "test.extxyz", atoms)
    return "test.extxyz", "frame 6", "REF_energy"


def misspelt_key(folder):
    write_config(folder, {"explore.temprature_K": 300})
    return "config.yaml", "explore.temprature_K"


def wrong_value(folder):
    write_config(folder, {"explore.walkers": "many"})
    return "config.yaml", "explore.walkers"


def endless_bias(folder):
    write_config(folder, {"explore.tau_rel": None, "explore.tau": float("inf")})
    return "config.yaml", "tau"


def no_yaml(folder):
    (folder / "config.yaml").write_text("seed: [1,")
    return "config.yaml", "YAML"


def unknown_descriptor_element(folder):
    write_config(folder, {"descriptor.elements": ["Cu", "Al", "Zz"]})
    return ("Zz",)


def no_reference_energy(folder):
    write_config(folder, {"data.e0s": {"Cu": 0.0}})
    return "e0s", "Al"


def no_isolated_atoms(folder):
    write_config(folder, {"data.e0s": "isolated"})
    return "e0s", "Al"


def no_such_engine(folder):
    write_config(folder, {"labelling.factory": "nowhere.at_all:EMT"})
    return ("nowhere.at_all:EMT",)


BAD_INPUT = [
    nan_positions,
    nan_energy,
    foreign_element,
    no_element,
    dummy_element,
    empty_file,
    no_file,
    zero_cell,
    truncated,
    truncated_between_lines,
    no_energy_key,
    no_forces_key,
    no_forces_key_and_no_test_set,
    no_virial_key,
    label_missing,
    misspelt_key,
    wrong_value,
    endless_bias,
    no_yaml,
    unknown_descriptor_element,
    no_reference_energy,
    no_isolated_atoms,
    no_such_engine,
]


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("spoil", BAD_INPUT, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_refused_by_name(config, spoil, command):
    """And no campaign is begun, which would bind the mended config to the broken one."""
    named = spoil(config.parent)
    before = hashes(config.parent)
    result = call(command, config)
    assert not store_of(config).exists
    assert_refused(result, *named)
    if command == "validate":
        assert hashes(config.parent) == before


@pytest.mark.parametrize("command", ["validate", "run", "status", "report"])
def test_no_such_config(tmp_path, command):
    assert_refused(call(command, tmp_path / "nothing.yaml"), tmp_path / "nothing")


def test_bad_input_in_a_real_process(config):
    named = nan_positions(config.parent)
    result = bayesel("run", config)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert all(name in result.stderr for name in named)
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["run", "a.yaml", "--speed", "9"]])
def test_wrong_command_lines(arguments):
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_directory_that_is_a_file(config):
    (config.parent / "taken").write_text("precious")
    result = call("run", config, "--dir", config.parent / "taken")
    assert_refused(result, "taken")
    assert (config.parent / "taken").read_text() == "precious"


# run, status, report


def test_run_ends_with_the_report(finished):
    page = Page((directory(finished) / "report.html").read_text())
    assert FORETOLD in page.titles
    for figure in page.figures.values():
        assert_drawn(figure)
    assert [row[0] for row in page.tables["rounds"]] == ["round", "0", "1", "2"]


def test_run_says_why_it_ended_and_where_the_report_is(config):
    result = call("run", config)
    assert result.exit_code == 0
    assert "the one round is done" in result.stdout
    assert str(directory(config) / "report.html") in result.stdout


@pytest.mark.slow
def test_failed_calculations_are_made_again_on_request(tmp_path):
    changes = {
        "labelling.factory": "helpers.calculators:emt_once_there_is",
        "labelling.parameters": {"file": str(tmp_path / "works")},
        "labelling.canary": False,
        "stop.max_failures": 1,
        "stop.max_rounds": 1,
    }
    config = write_campaign(tmp_path, changes)
    assert_refused(call("run", config), "have all failed", "--retry-failed", "max_failures")
    (tmp_path / "works").touch()
    assert call("run", config).exit_code == 2
    assert call("run", config, "--retry-failed").exit_code == 0
    assert store_of(config).read_report(1).failed == 0


def test_running_a_finished_campaign_changes_no_content(finished):
    before = hashes(finished.parent)
    result = call("run", finished)
    assert result.exit_code == 0
    assert "all 2 rounds are done" in result.stdout
    assert hashes(finished.parent) == before


def test_run_in_a_directory_of_choice(config):
    chosen = config.parent / "else" / "where"
    assert call("run", config, "--dir", chosen).exit_code == 0
    assert Store(chosen).completed_rounds() == 2
    assert not directory(config).exists()
    assert call("status", config, "-d", chosen).exit_code == 0
    assert_refused(call("status", config), directory(config))


def test_a_changed_config_is_refused(finished, tmp_path):
    path = tmp_path / "config.yaml"
    settings = yaml.safe_load(finished.read_text())
    settings["weights"] = None
    for section, keys in (("data", ("train", "test")), ("explore", ("starts",))):
        for key in keys:
            settings[section][key] = str(finished.parent / settings[section][key])
    path.write_text(yaml.safe_dump(settings))
    before = hashes(directory(finished))
    result = call("run", path, "--dir", directory(finished))
    assert_refused(result, directory(finished), "weights", "new directory")
    assert hashes(directory(finished)) == before


@pytest.mark.parametrize("command", ["status", "report"])
def test_before_any_campaign(config, command):
    assert_refused(call(command, config), directory(config), "bayesel run")
    assert not directory(config).exists()


def cells(line):
    return re.findall(r"[^\s│|┃]+", line)


def test_status_after_the_end(finished):
    result = call("status", finished)
    assert result.exit_code == 0
    rows = [cells(line) for line in result.stdout.splitlines()]
    last = store_of(finished).read_report(2)
    errors = [f"{1e3 * e:.1f}" for e in (last.energy_rmse, last.forces_rmse)]
    shares = [f"{100 * x:.1f}" for x in (last.fires / last.checks, last.outlook["forces"].gain)]
    assert ["2", "12", "6", "3", "0", str(last.returns), *shares, *errors] in rows
    assert [row[0] for row in rows if len(row) == 10 and row[0].isdigit()] == ["0", "1", "2"]
    assert "ended: all 2 rounds are done" in result.stdout
    assert "so far" not in result.stdout


def test_status_while_it_runs(config):
    """After every event of a campaign; the number of picks is told as it grows."""
    counts = []
    for _ in Campaign(load_config(config), directory(config)).run():
        result = call("status", config)
        assert result.exit_code == 0, result.output
        counts += re.findall(r"round 1: (\d) picks so far", result.stdout)
    assert counts == sorted(counts)
    assert {"0", "2"} <= set(counts)  # two walkers may pick at one barrier


def test_status_writes_nothing(finished):
    before = hashes(finished.parent)
    call("status", finished)
    assert hashes(finished.parent) == before


def test_report_writes_the_page(finished):
    page = directory(finished) / "report.html"
    page.unlink()
    result = call("report", finished)
    assert result.exit_code == 0
    assert str(page) in result.stdout
    found = Page(page.read_text())
    assert [row[0] for row in found.tables["rounds"]] == ["round", "0", "1", "2"]
    assert len(found.figures) > 10
    for figure in found.figures.values():
        assert_drawn(figure)


@pytest.mark.slow
def test_folders_with_brackets_are_named_in_full(tmp_path):
    config = write_campaign(tmp_path / "[si] run [/x]", ONE_ROUND)
    for command in ("validate", "run", "report"):
        result = call(command, config)
        assert result.exit_code == 0, result.output
        assert "[si] run [/x]" in result.stdout


@pytest.mark.parametrize("damaged", ["explore.npz", "report.json", "parity.npz", "model.npz"])
def test_a_damaged_campaign_is_named(finished, tmp_path, damaged):
    """Whatever command needs the file says which it is; the others work."""
    config = copy_campaign(finished, tmp_path / "damaged")
    path = directory(config) / "round_0002" / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    write_config(config.parent, {"stop.max_rounds": 3})
    results = [call(command, config) for command in ("status", "report", "run")]
    refused = [result for result in results if result.exit_code != 0]
    assert refused
    for result in refused:
        assert_refused(result, path)


# labels by hand


@pytest.fixture(scope="module")
def batch_written(tmp_path_factory):
    """Config of a campaign that waits for the user's labels."""
    path = write_campaign(
        tmp_path_factory.mktemp("waiting"), {"labelling": "none", "stop.max_rounds": 1}
    )
    result = call("run", path)
    assert result.exit_code == 0
    assert "3 structures wait" in result.stdout
    assert str(store_of(path).by_hand_path(1)) in result.stdout
    return path


@pytest.fixture
def waiting(batch_written, tmp_path):
    """A copy that a test may change."""
    return copy_campaign(batch_written, tmp_path / "waiting")


def labelled(config):
    return [reference(atoms) for atoms in store_of(config).read_batch(1)]


def put(config, frames):
    write(store_of(config).by_hand_path(1), frames, format="extxyz")


def test_the_batch_is_named(waiting):
    result = call("status", waiting)
    text = result.stdout.replace("\n", "")
    assert str(store_of(waiting).batch_path(1)) in text
    assert len(read(store_of(waiting).batch_path(1), index=":")) == 3


def test_waiting_again_changes_nothing(waiting):
    call("run", waiting)  # the page names the directory, and this one is a copy
    before = hashes(waiting.parent)
    assert "3 structures wait" in call("run", waiting).stdout
    assert hashes(waiting.parent) == before


def test_labels_put_in_place(waiting):
    put(waiting, labelled(waiting))
    result = call("run", waiting)
    assert result.exit_code == 0
    assert "the one round is done" in result.stdout
    assert store_of(waiting).read_report(1).n_labels == 3


def cut_answers(config):
    put(config, labelled(config))
    path = store_of(config).by_hand_path(1)
    path.write_text(path.read_text()[:-90])
    return (path,)


def empty_answers(config):
    store_of(config).by_hand_path(1).write_text("")
    return store_of(config).by_hand_path(1), "empty"


def foreign_answers(config):
    put(config, [*labelled(config)[:2], reference(alloy_cells(1, 0.1, 9)[0])])
    return store_of(config).by_hand_path(1), "frame 2", "none of the 3"


def answers_without_forces(config):
    frames = labelled(config)
    del frames[1].arrays["REF_forces"]
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 1", "REF_forces"


def answers_without_energy(config):
    frames = labelled(config)
    del frames[2].info["REF_energy"]
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 2", "REF_energy"


def answers_under_other_keys(config):
    frames = labelled(config)
    for atoms in frames:
        atoms.info["energy"] = atoms.info.pop("REF_energy")
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 0", "REF_energy"


def answers_of_nan(config):
    frames = labelled(config)
    frames[2].arrays["REF_forces"][1, 1] = np.nan
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 2", "REF_forces"


def answers_with_nan_energy(config):
    frames = labelled(config)
    frames[0].info["REF_energy"] = np.nan
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 0", "REF_energy"


def answers_with_nan_positions(config):
    frames = labelled(config)
    frames[1].positions[0, 0] = np.nan
    put(config, frames)
    return store_of(config).by_hand_path(1), "frame 1"


@pytest.mark.parametrize(
    "spoil",
    [
        cut_answers,
        empty_answers,
        foreign_answers,
        answers_without_forces,
        answers_without_energy,
        answers_under_other_keys,
        answers_of_nan,
        answers_with_nan_energy,
        answers_with_nan_positions,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_bad_labels_are_refused_and_nothing_is_changed(waiting, spoil):
    named = spoil(waiting)
    before = hashes(waiting.parent)
    assert_refused(call("run", waiting), *named)
    assert hashes(waiting.parent) == before


def test_labels_mended_after_a_refusal(waiting):
    answers_of_nan(waiting)
    assert call("run", waiting).exit_code == 2
    put(waiting, labelled(waiting))
    assert call("run", waiting).exit_code == 0
    assert store_of(waiting).read_report(1).n_labels == 3


def test_a_structure_given_up(waiting):
    frames = labelled(waiting)
    bare = store_of(waiting).read_batch(1)[0]
    bare.info["bayesel_failed"] = True
    put(waiting, [bare, *frames[1:]])
    result = call("run", waiting)
    assert result.exit_code == 0
    report = store_of(waiting).read_report(1)
    assert (report.n_labels, report.failed) == (2, 1)


# the process


def test_help():
    result = bayesel("--help")
    assert result.returncode == 0
    for command in ("init", "validate", "run", "status", "report"):
        assert command in result.stdout
    assert result.stderr == ""


def test_the_version_is_that_of_the_package():
    result = call("--version")
    assert (result.exit_code, result.output) == (0, f"bayesel {version('ase_bayesel')}\n")


def test_without_arguments_the_help_is_shown():
    assert "validate" in call().output


@pytest.mark.parametrize("heavy", ["torch", "matplotlib", "ase", "scipy"])
def test_importing_the_command_is_light(heavy):
    code = f"import sys, ase_bayesel.cli; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_plain_log_lines_without_a_terminal(config):
    result = bayesel("run", config)
    assert result.returncode == 0
    assert "round 1 explore" in result.stderr
    assert "round 1 label 3/3" in result.stderr
    assert "round 1: 3 picks, 0 failed; 3 labels, 9 fitted; test RMSE" in result.stdout
    assert "\x1b[" not in result.stdout + result.stderr
    assert "Warning" not in result.stderr
    assert len(result.stderr.splitlines()) < 60
    assert "the one round is done" in result.stdout


@pytest.mark.slow
def test_progress_bars_on_a_terminal(config):
    ours, theirs = pty.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "160"}
    command = [BAYESEL, "run", str(config)]
    process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end has gone
            break
        if not chunk:
            break
        screen += chunk
    os.close(ours)
    assert process.wait() == 0
    text = screen.decode()
    assert "\x1b[" in text
    assert "━" in text
    assert "explore" in text
    assert "round 1: 3 picks" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert store_of(config).completed_rounds() == 2


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "ase_bayesel", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == bayesel("--version").stdout


def test_paths_do_not_depend_on_the_working_directory(config, monkeypatch):
    monkeypatch.chdir(config.parent)
    assert call("run", config.name).exit_code == 0
    monkeypatch.chdir(Path("/"))
    result = call("status", config)
    assert result.exit_code == 0
    assert directory(config).is_dir()
