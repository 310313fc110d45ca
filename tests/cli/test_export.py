"""`bayesel export`: the files, and the lines that load them."""

import json
import sys
import warnings

import numpy as np
import pytest
import yaml
from helpers.adapter_example import FACTORY, PairNetDescriptor, made_example
from helpers.campaigns import campaign_settings, copy_campaign, ended, write_campaign
from helpers.command_line import assert_refused, call
from helpers.mace_models import mace_calculator, needs_mace, save_model, tiny_mace
from helpers.structures import alloy_cells, copper

from ase_bayesel import Surrogate, load_config
from ase_bayesel.campaign.config.models import MACEPotentialConfig
from ase_bayesel.campaign.events import RoundReport, best_round
from ase_bayesel.campaign.export import _with_shift, export
from ase_bayesel.campaign.loading_lines import potential_lines
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.campaign.store import Store
from ase_bayesel.descriptors.mace.internals import atomic_energies_of
from ase_bayesel.descriptors.mace.loading import load_module
from ase_bayesel.structures.energy_shift import EnergyShift

SHOWN = alloy_cells(1, 0.08, 300)[0]
POTENTIAL = """
from pathlib import Path

from ase.calculators.emt import EMT


class Scaled(EMT):
    def __init__(self, folder, factor):
        super().__init__()
        self.scale = factor * float((Path(folder) / "scale.txt").read_text())

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        for key in ("energy", "free_energy", "forces", "stress"):
            self.results[key] = self.results[key] * self.scale
"""
TRAIN = """
import sys
from pathlib import Path
model, output = map(Path, sys.argv[1:])
output.mkdir(parents=True)
(output / "scale.txt").write_text(str(float((model / "scale.txt").read_text()) + 0.02))
"""


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Config of a finished campaign whose potential is the linear model."""
    return finished(tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def folder_model(tmp_path_factory):
    """Config of a finished campaign whose potential is a folder, refitted by a command."""
    folder = tmp_path_factory.mktemp("folder_model")
    (folder / "scaled_emt.py").write_text(POTENTIAL)
    (folder / "net.v1").mkdir()
    (folder / "net.v1" / "scale.txt").write_text("0.9")
    potential = {
        "kind": "import",
        "factory": "scaled_emt:Scaled",
        "model": "net.v1",
        "argument": "folder",
        "parameters": {"factor": 1.0},
        "energy_shift": {"Cu": 0.5, "Al": -1.0},
    }
    command = [sys.executable, "-c", TRAIN, "{model}", "{output}"]
    refit = {"kind": "command", "command": command}
    return finished(folder, {"potential": potential, "refit": refit})


def finished(folder, changes=None):
    config = write_campaign(folder, changes)
    assert call("run", config).exit_code == 0
    return config


def store_of(config):
    return Store(config.with_name(f"{config.stem}_campaign"))


def exported(*arguments):
    """What the command says first, its notes, and what its lines of Python make."""
    result = call("export", *arguments)
    assert result.exit_code == 0, result.output
    said, *more = result.output.splitlines()
    notes = [line for line in more if line.startswith("note: ")]
    code = [line for line in more if line not in notes]
    return said, notes, code


def calculator_of(code):
    made = {}
    path = list(sys.path)
    exec("\n".join(code), made)
    sys.path[:] = path
    return made["calculator"]


def energy(calculator):
    return calculator.get_potential_energy(SHOWN.copy())


def test_a_run_ends_with_the_best_model(linear):
    """One that is done already says the same again."""
    store = store_of(linear)
    best = best_round([store.read_report(k) for k in range(3)])
    *_, reason, page, model, one, two, three = call("run", linear).stdout.splitlines()
    assert reason == "all 2 rounds are done"
    assert page.startswith("report: ")
    assert model == f"best model: {store.model_path(best)} (round {best} of 2); in Python:"
    expected = Surrogate.load(store.model_path(best)).energy(SHOWN)
    assert energy(calculator_of([one, two, three])) == pytest.approx(expected, abs=1e-9)


def test_the_model_of_another_package_where_it_lies(folder_model):
    store = store_of(folder_model)
    said = call("run", folder_model).stdout
    best = best_round([store.read_report(k) for k in range(3)])
    head, lines = said.split("; in Python:\n")
    assert f"best model: {store.potential_path(best)} (round {best} of 2)" in head
    _, potential = load_model(load_config(folder_model), store, best)
    assert energy(calculator_of([lines])) == pytest.approx(energy(potential), abs=1e-9)


@pytest.mark.parametrize("by_directory", [False, True])
def test_the_linear_model_with_its_uncertainties(linear, tmp_path, by_directory):
    store, path = store_of(linear), tmp_path / "final.npz"
    said, notes, code = exported(store.directory if by_directory else linear, "-o", path)
    assert said == f"wrote {path}: surrogate of round 2"
    assert len(code) == 3
    assert path.read_bytes() == store.model_path(2).read_bytes()
    calculator, last = calculator_of(code), Surrogate.load(store.model_path(2))
    assert energy(calculator) == pytest.approx(last.energy(SHOWN), abs=1e-9)
    assert calculator.prediction.energy_std == pytest.approx(last.energy_std(SHOWN), abs=1e-5)
    assert all("round" in note for note in notes)


def test_nothing_is_replaced(linear, tmp_path):
    path = tmp_path / "final.npz"
    path.write_text("precious")
    assert_refused(call("export", linear, "-o", path), path, "exists already")
    assert path.read_text() == "precious"


def test_a_round_of_ones_choice(linear, tmp_path):
    said, _, code = exported(linear, "-o", tmp_path / "first.npz", "--round", 0)
    assert said.endswith("surrogate of round 0")
    first = Surrogate.load(store_of(linear).model_path(0))
    assert energy(calculator_of(code)) == pytest.approx(first.energy(SHOWN), abs=1e-9)
    for wanted in ("3", "-1", "first"):
        refused = call("export", linear, "-o", tmp_path / "x.npz", f"--round={wanted}")
        assert_refused(refused, "round: expected last, best or 0 to 2", wanted)


def test_the_best_round(linear, tmp_path):
    config = copy_campaign(linear, tmp_path / "copy")
    path = store_of(config).round_directory(2) / "report.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "forces_rmse": 9.0}))
    best = best_round([store_of(config).read_report(k) for k in range(3)])
    assert best in (0, 1)
    said, notes, _ = exported(config, "-o", tmp_path / "last.npz")
    assert said.endswith("round 2")
    assert any(f"round {best} had the smallest errors" in note for note in notes)
    said, notes, _ = exported(config, "-o", tmp_path / "best.npz", "--round", "best")
    assert said.endswith(f"round {best}")
    assert notes == []


def test_which_round_is_best():
    def reports(*errors):
        return [
            RoundReport(k, 1, 1, energy_rmse=e, forces_rmse=f) for k, (e, f) in enumerate(errors)
        ]

    assert best_round(reports((1.0, 3.0), (2.0, 1.0), (0.5, 2.0))) == 2
    assert best_round(reports((34.0, 43.0), (8.0, 51.0), (8.0, None))) == 1
    assert best_round(reports((7.15, 186.9), (12.09, 114.0))) == 1  # 3% more, and more labels
    assert best_round(reports((7.15, 186.9), (14.0, 114.0))) == 0
    assert best_round(reports((1.0, None), (0.5, None))) == 1
    assert best_round(reports((1.0, float("nan")), (2.0, float("nan")))) == 0
    assert best_round(reports((1.0, 2.0), (1.0, 2.0))) == 1
    assert best_round(reports((None, None))) is None


def test_without_a_test_set_none_is_best(linear, tmp_path):
    config = copy_campaign(linear, tmp_path / "copy")
    for k in range(3):
        path = store_of(config).round_directory(k) / "report.json"
        raw = json.loads(path.read_text()) | {"forces_rmse": None, "energy_rmse": None}
        path.write_text(json.dumps(raw))
    refused = call("export", config, "-o", tmp_path / "x.npz", "--round", "best")
    assert_refused(refused, "data.test")


def test_for_ace_jax(linear, tmp_path):
    said, notes, code = exported(linear, "-o", tmp_path / "jax.npz", "--format", "ace-jax")
    assert said.endswith("ace-jax of round 2")
    assert any("no uncertainties" in note for note in notes)
    last = Surrogate.load(store_of(linear).model_path(2))
    assert energy(calculator_of(code)) == pytest.approx(last.energy(SHOWN), abs=1e-8)


def test_for_lammps(linear, tmp_path):
    """LAMMPS itself is not there; that the file is what ML-PACE reads is tested beside it."""
    path = tmp_path / "pace.yace"
    said, _, code = exported(linear, "-o", path)
    assert said.endswith("yace of round 2")
    assert path.read_text().startswith("elements: [Cu, Al]\n")
    compile("\n".join(code), "lines", "exec")
    assert f"pair_coeff * * {path} Cu Al" in code[1]
    assert "{'Cu': 1, 'Al': 2}" in code[2]


def test_a_model_of_another_package(folder_model, tmp_path):
    store = store_of(folder_model)
    _, potential = load_model(load_config(folder_model), store, 2)
    path = tmp_path / "mine.v1"
    said, notes, code = exported(folder_model, "-o", path)
    assert said == f"wrote {path}: model of round 2"
    assert float((path / "scale.txt").read_text()) == pytest.approx(0.94)
    assert any("energy shift" in note for note in notes)
    assert energy(calculator_of(code)) == pytest.approx(energy(potential), abs=1e-9)


def test_uncertainties_beside_another_potential(folder_model, tmp_path):
    store = store_of(folder_model)
    surrogate, potential = load_model(load_config(folder_model), store, 2)
    said, notes, code = exported(folder_model, "-o", tmp_path / "sigma.npz")
    assert said.endswith("surrogate of round 2")
    assert any(str(store.potential_path(2)) in note for note in notes)
    calculator = calculator_of(code)
    assert energy(calculator) == pytest.approx(energy(potential), abs=1e-9)
    expected = surrogate.energy_std(SHOWN)
    assert calculator.prediction.energy_std == pytest.approx(expected, abs=1e-5)
    _, notes, _ = exported(folder_model, "-o", tmp_path / "mean.yace")
    assert any("not the potential on which walkers moved" in note for note in notes)


def test_names_and_formats_that_do_not_fit(linear, folder_model, tmp_path):
    for config, name, form, told in (
        (linear, "a.model", (), "the name must end as its format does: .npz (surrogate: "),
        (linear, "a.yace", ("--format", "surrogate"), ".npz (surrogate: "),
        (linear, "a.npz", ("--format", "onnx"), "this campaign can write surrogate ("),
        (linear, "a.npz", ("--format", "model"), "got 'model'"),
        (folder_model, "a.pt", (), ".v1 (model: "),
    ):
        refused = call("export", config, "-o", tmp_path / name, *form)
        assert_refused(refused, told)
        assert not (tmp_path / name).exists()


def test_formats_of_other_campaigns_are_not_offered(folder_model, tmp_path):
    """Those of linear ACE for other features, a model file where there is none."""
    config = copy_campaign(folder_model, tmp_path / "copy")
    stored = store_of(config).config_path
    settings = yaml.safe_load(stored.read_text())
    ace = call("export", config, "-o", tmp_path / "a.pt").stderr
    stored.write_text(yaml.safe_dump(settings | {"descriptor": {"kind": "mace"}}))
    other = call("export", config, "-o", tmp_path / "a.pt").stderr
    assert ("yace" in ace, "ace-jax" in ace, "model" in ace) == (True, True, True)
    assert ("yace" in other, "ace-jax" in other, "model" in other) == (False, False, True)
    refused = call("export", config, "-o", tmp_path / "a.yace", "--format", "yace")
    assert_refused(refused, "got 'yace'")


def test_a_campaign_that_has_no_round(linear, tmp_path):
    config = copy_campaign(linear, tmp_path / "copy")
    (store_of(config).round_directory(0) / "DONE").unlink()
    assert_refused(call("export", config, "-o", tmp_path / "x.npz"), "no round is done yet")
    assert_refused(call("export", tmp_path, "-o", tmp_path / "x.npz"), "holds no campaign")


def test_a_damaged_model(linear, tmp_path):
    config = copy_campaign(linear, tmp_path / "copy")
    path = store_of(config).model_path(2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert_refused(call("export", config, "-o", tmp_path / "x.npz"), path)
    assert not (tmp_path / "x.npz").exists()


@needs_mace
def test_lines_of_a_mace_model(tmp_path):
    """By mace's own calculator, which loads its pickle with a warning."""
    model = tiny_mace()
    save_model(model, tmp_path / "my.model")
    shift = EnergyShift({"Cu": 0.25}, "given")
    lines = potential_lines(MACEPotentialConfig("my.model"), tmp_path / "my.model", shift)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = calculator_of(lines)
    atoms = copper(2, 0.1)
    expected = mace_calculator(model).get_potential_energy(atoms.copy()) + 0.25 * len(atoms)
    assert calculator.get_potential_energy(atoms) == pytest.approx(expected, abs=1e-9)
    assert np.isfinite(calculator.get_forces(atoms)).all()


@needs_mace
@pytest.mark.parametrize("heads", [["Default"], ["other", "mine"]])
def test_a_mace_model_takes_its_energy_shift_along(tmp_path, heads):
    module = tiny_mace(heads=heads)
    before, atoms = mace_calculator(module, head=heads[-1]), copper(2, 0.1)
    expected = before.get_potential_energy(atoms.copy()) + 0.25 * len(atoms)
    save_model(module, tmp_path / "my.model")
    potential = MACEPotentialConfig("my.model", head=heads[-1])
    shift = EnergyShift({"Cu": 0.25, "U": 9.0}, "given")
    content = _with_shift(tmp_path / "my.model", potential, shift)
    (tmp_path / "shifted.model").write_bytes(content)
    after = load_module(tmp_path / "shifted.model")
    found = mace_calculator(after, head=heads[-1]).get_potential_energy(atoms.copy())
    assert found == pytest.approx(expected, abs=1e-9)
    held, given = atomic_energies_of(after), atomic_energies_of(load_module(tmp_path / "my.model"))
    assert (held != given).sum() == 1  # no other head, no other element


@pytest.mark.slow
def test_features_and_energies_of_an_imported_descriptor(tmp_path):
    """The lines make the descriptor's own model, and a surrogate that shares its passes."""
    made_example(tmp_path)
    changes = {
        "potential": {"kind": "descriptor", "model": "pairnet.pt"},
        "descriptor": {"kind": "import", "factory": FACTORY},
        "stop.max_rounds": 1,
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(campaign_settings(changes)))
    store, _ = ended(config)
    exported = export(store, 1, tmp_path / "final.npz", "surrogate")
    made = {}
    exec("\n".join(exported.lines), made)
    atoms = store.read_input("test")[0]
    atoms.calc = made["calculator"]
    own = PairNetDescriptor(str(tmp_path / "pairnet.pt")).calculator()
    assert atoms.get_potential_energy() == pytest.approx(own.get_potential_energy(atoms), rel=1e-12)
    assert atoms.calc.prediction.energy_std > 0
