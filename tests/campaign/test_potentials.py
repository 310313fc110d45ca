"""Whatever a package ships as a potential, named in a config; docs/how-to/potentials.md."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT
from helpers.campaigns import (
    assert_same_campaign,
    campaign,
    campaign_settings,
    copy_campaign,
    ended,
    write_campaign,
)
from helpers.command_line import assert_refused, call
from helpers.structures import alloy_cells, reference

from ase_bayesel.campaign.build.potentials import build_potential, initial_potential
from ase_bayesel.campaign.changes import edited_files
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.energy_shift import differences, read_shift
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.campaign.round_model import load_model
from ase_bayesel.errors import ConfigError, RefitError
from ase_bayesel.structures.energy_shift import EnergyShift
from ase_bayesel.structures.labels import PropertyKeys

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "potentials.md").read_text()
MODULE = """
import gzip
from pathlib import Path

from ase.calculators.emt import EMT


class Scaled(EMT):
    def __init__(self, scale, offsets=None):
        super().__init__()
        self.scale, self.offsets = scale, offsets or {}

    @classmethod
    def from_folder(cls, folder, offsets=None):
        return cls(float((Path(folder) / "deep" / "scale.txt").read_text()), offsets)

    @classmethod
    def from_gzip(cls, file):
        assert file.endswith(".json.gz"), file
        with gzip.open(file, "rt") as handle:
            return cls(float(handle.read()))

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        for key in ("energy", "free_energy", "forces", "stress"):
            self.results[key] = self.results[key] * self.scale
        shift = sum(self.offsets.get(symbol, 0.0) for symbol in self.atoms.symbols)
        self.results["energy"] += shift
        self.results["free_energy"] += shift


def of_files(files):
    return Scaled(sum(float(Path(file).read_text()) for file in files))


def named(model):
    return Scaled({"small": 0.9}[model] if model == "small" else float(Path(model).read_text()))


def no_calculator():
    return object()
"""
TRAIN = """
import sys
from pathlib import Path
model, output = map(Path, sys.argv[1:])
scale = float((model / "deep" / "scale.txt").read_text())
(output / "deep").mkdir(parents=True)
(output / "deep" / "scale.txt").write_text(str(scale + 0.02))
(output / "extra.bin").write_bytes(b"x")
"""
OFFSETS = {"Cu": 3.0, "Al": -7.0}


def imported(factory, **more):
    return {"potential": {"kind": "import", "factory": factory, **more}}


@pytest.fixture
def folder(tmp_path):
    """With a module of potentials and a model that is a folder."""
    (tmp_path / "my_potentials.py").write_text(MODULE)
    (tmp_path / "net.v1" / "deep").mkdir(parents=True)
    (tmp_path / "net.v1" / "deep" / "scale.txt").write_text("0.9")
    return tmp_path


def of_folder(folder, **more):
    """Config of a campaign whose potential is a folder, refitted by a command."""
    command = [sys.executable, "-c", TRAIN, "{model}", "{output}"]
    potential = imported(
        "my_potentials:Scaled.from_folder", model="net.v1", argument="folder", **more
    )
    return write_campaign(folder, {**potential, "refit": {"kind": "command", "command": command}})


def scale_of(config):
    settings = load_config(config)
    return build_potential(settings, initial_potential(settings), None).scale


class TestFactories:
    def test_a_folder(self, folder):
        assert scale_of(of_folder(folder)) == 0.9

    def test_a_position_and_a_double_suffix(self, folder):
        import gzip

        with gzip.open(folder / "x.json.gz", "wt") as handle:
            handle.write("0.8")
        model = {"model": "x.json.gz", "argument": 0}
        config = write_campaign(folder, imported("my_potentials:Scaled.from_gzip", **model))
        assert scale_of(config) == 0.8
        running = campaign(config)
        next(iter(running.run()))
        assert running.store.potential_path(0).name == "potential.json.gz"

    def test_several_files_in_their_order(self, folder):
        (folder / "b").mkdir()
        (folder / "b" / "two").write_text("0.3")
        (folder / "one").write_text("0.5")
        model = {"model": ["b/two", "one"], "argument": "files"}
        config = write_campaign(folder, imported("my_potentials:of_files", **model))
        assert scale_of(config) == 0.8
        running = campaign(config)
        next(iter(running.run()))
        kept = running.store.potential_path(0)
        assert {path.name for path in kept.iterdir()} == {"two", "one"}
        assert edited_files(load_config(config), running.store) == []
        assert build_potential(load_config(config), kept, None).scale == 0.8

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"model": "net.v1", "argument": 1}, "place 1"),
            ({"model": "net.v1", "argument": -1}, "the name of a keyword, or a place"),
            ({"model": "net.v1", "parameters": {"model": 1}}, "given twice"),
            ({"model": ["a/x", "b/x"]}, "the same name"),
            ({"model": {"names": "x"}}, "expected a file, a folder"),
            ({"model": "gone"}, "no such file"),
            ({"factory": "my_potentials:no_calculator"}, "no ASE calculator but object"),
            ({"factory": "my_potentials:Scaled.nothing"}, "nothing"),
            ({"energy_shift": {"Xq": 1.0}}, "'Xq' is no element"),
            ({"energy_shift": {"Cu": 1.0}, "parameters": {"scale": 1.0}}, "Al has no energy shift"),
        ],
    )
    def test_what_does_not_fit(self, folder, changes, told):
        config = write_campaign(
            folder,
            imported("my_potentials:Scaled", **changes)
            if "factory" not in changes
            else imported(**changes),
        )
        assert_refused(call("validate", config), told)

    def test_links_in_a_folder_are_refused(self, folder):
        (folder / "net.v1" / "outside").symlink_to("/etc")
        config = of_folder(folder)
        assert_refused(call("validate", config), "outside: is a symbolic link", "potential.model")


class TestNames:
    def test_nothing_is_copied_until_a_refit(self, folder):
        code = "import sys; open(sys.argv[2], 'w').write('0.95'); print(sys.argv[1])"
        command = [sys.executable, "-c", code, "{model}", "{output}"]
        changes = imported("my_potentials:named", model={"name": "small"})
        config = write_campaign(
            folder, {**changes, "refit": {"kind": "command", "command": command}}
        )
        result = call("validate", config)
        assert result.exit_code == 0, result.output
        assert "'small' is a name" in result.output
        store, _ = ended(config)
        assert store.potential_path(0) is None
        log = (store.refit_directory(1) / "refit.log").read_text()
        assert "small" in log
        assert [load_model(load_config(config), store, k)[1].scale for k in (0, 1)] == [0.9, 0.95]


class TestOwnModules:
    def test_files_alone_run_nothing(self, folder):
        (folder / "my_potentials.py").write_text("raise SystemExit('was run')")
        config = of_folder(folder)
        assert call("validate", "--files", config).exit_code == 0
        assert_refused(call("validate", config), "was run")

    def test_found_while_imported_and_an_edit_is_told(self, folder):
        (folder / "sibling_of_mine.py").write_text("scale = 0.7\n")
        module = folder / "my_potentials.py"
        module.write_text(f"import sibling_of_mine\n{MODULE}")
        before = list(sys.path)
        config = of_folder(folder)
        assert scale_of(config) == 0.9
        assert sys.path == before
        running = campaign(config)
        next(iter(running.run()))
        assert edited_files(load_config(config), running.store) == []
        module.write_text(MODULE.replace("* self.scale", "* 2 * self.scale"))
        (told,) = edited_files(load_config(config), running.store)
        assert "potential.factory" in told
        assert str(module) in told

    def test_a_config_may_move_with_its_module(self, folder, tmp_path_factory):
        config = of_folder(folder)
        next(iter(campaign(config).run()))
        moved = tmp_path_factory.mktemp("moved")
        for path in [config, *folder.glob("*.extxyz"), folder / "my_potentials.py"]:
            (moved / path.name).write_bytes(path.read_bytes())
        (moved / "net.v1" / "deep").mkdir(parents=True)
        (moved / "net.v1" / "deep" / "scale.txt").write_text("0.9")
        (folder / "campaign").rename(moved / "campaign")
        changed = {change.field for change in campaign(moved / "config.yaml").changes}
        assert {"potential.factory", "potential.model"} <= changed

    def test_labels_from_one_in_processes(self, folder):
        labelling = {
            "kind": "import",
            "factory": "my_potentials:Scaled",
            "parameters": {"scale": 1.0},
        }
        changes = {"labelling": labelling, "workers.labelling": {"kind": "processes"}}
        config = write_campaign(folder, {**changes, "stop.max_rounds": 1})
        store, _ = ended(config)
        assert store.read_report(1).n_labels > 0
        (settings,) = (store.directory / "labels" / "settings").glob("*.json")
        described = json.loads(settings.read_text())
        assert str(folder) not in json.dumps(described)
        assert "my_potentials.py:Scaled" in json.dumps(described)
        (folder / "my_potentials.py").write_text(MODULE + "\n")
        with pytest.raises(ConfigError, match="two references"):
            list(campaign(config).run())


class TestFolders:
    def test_refitted_and_resumed(self, folder, tmp_path_factory):
        config = of_folder(folder)
        other = copy_campaign(config, tmp_path_factory.mktemp("other"))
        whole, _ = ended(other)
        scales = [load_model(load_config(other), whole, k)[1].scale for k in range(3)]
        assert scales == pytest.approx([0.9, 0.92, 0.94])
        assert whole.potential_path(2).name == "potential.v1"
        assert (whole.potential_path(2) / "extra.bin").read_bytes() == b"x"

        running = campaign(config)
        for event in running.run():
            if getattr(event, "stage", "") == "refit" or event.round_number == 1:
                break
        (folder / "net.v1" / "deep" / "scale.txt").write_text("5.0")
        (told,) = edited_files(load_config(config), running.store)
        assert "potential.model" in told
        store, _ = ended(config)
        assert_same_campaign(store, whole)

    def test_a_refit_that_leaves_a_file(self, folder):
        config = of_folder(folder)
        settings = yaml.safe_load(config.read_text())
        settings["refit"]["command"][2] = "import sys; open(sys.argv[2], 'w').write('1')"
        config.write_text(yaml.safe_dump(settings))
        with pytest.raises(RefitError, match=r"left a file, .*is a folder, .*round_0000"):
            ended(config)


class TestEnergyShift:
    def test_of_two_elements(self):
        """3 a + b = 7, a + 3 b = 5, as by hand: a = 2, b = 1."""
        shift = EnergyShift.fitted([{"Cu": 3, "Al": 1}, {"Cu": 1, "Al": 3}], [7.0, 5.0])
        assert shift.energies == pytest.approx({"Cu": 2.0, "Al": 1.0})
        assert shift.source == "fitted to 2 structures"

    def test_of_one_composition(self):
        """a + 3 b = 10 of the smallest norm is along (1, 3)."""
        shift = EnergyShift.fitted([{"Cu": 1, "Al": 3}, {"Cu": 2, "Al": 6}], [10.0, 20.0])
        assert shift.energies == pytest.approx({"Cu": 1.0, "Al": 3.0})
        assert "do not tell the elements apart" in str(shift)

    def test_another_reference(self, folder):
        config = of_folder(folder, parameters={"offsets": OFFSETS})
        bare, _ = ended(config)
        errors = bare.read_report(0)
        assert errors.energy_rmse > 1.0
        assert any("energy_shift: fitted" in told for told in errors.warnings)

        settings = yaml.safe_load(config.read_text())
        settings["potential"]["energy_shift"] = "fitted"
        config.write_text(yaml.safe_dump(settings))
        (folder / "campaign").rename(folder / "bare")
        store, _ = ended(config)
        test, train = store.read_input("test"), store.read_input("train")
        report = store.read_report(0)
        scaled = _fitted([(a, 0.1 * a.info["REF_energy"] - _offset(a)) for a in train])
        assert dict(report.energy_shift.energies) == pytest.approx(scaled)
        left = [
            (-0.1 * a.info["REF_energy"] + _offset(a) + sum(scaled[s] for s in a.symbols)) / len(a)
            for a in test
        ]
        assert report.energy_rmse == pytest.approx(np.sqrt(np.mean(np.square(left))), rel=1e-6)
        assert report.energy_rmse < 0.05 * errors.energy_rmse
        assert report.forces_rmse == errors.forces_rmse
        later = read_shift(load_config(config), store, 1)
        assert later.energies != report.energy_shift.energies
        status = call("status", "-d", store.directory, config)
        assert "energy shift" in status.output
        picks = [read_pick_errors(s, 1).fitted["energy"].errors for s in (store, bare_store(bare))]
        assert np.abs(picks[0]).max() < 0.1 * np.abs(picks[1]).max()
        shown = store.read_batch(1)[0]
        plain = 0.9 * EMT().get_potential_energy(shown.copy()) + _offset(shown)
        potential = load_model(load_config(config), store, 0)[1]
        expected = plain + report.energy_shift.of(shown)
        assert potential.get_potential_energy(shown) == pytest.approx(expected)


def bare_store(store):
    """Where the campaign without a shift has been moved to."""
    return type(store)(store.directory.with_name("bare"))


def _offset(atoms):
    return sum(OFFSETS[symbol] for symbol in atoms.symbols)


def _fitted(pairs):
    """By the normal equations."""
    counts = np.array([[a.symbols.count(s) for s in ("Al", "Cu")] for a, _ in pairs], float)
    found = np.linalg.pinv(counts) @ np.array([difference for _, difference in pairs])
    return dict(zip(("Al", "Cu"), found, strict=True))


def test_the_blocks_of_the_page(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    code, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_potential.py").write_text(code)
    (tmp_path / "spring.model").write_text("0.2")
    write_campaign(tmp_path)
    shift = yaml.safe_load(blocks[2])["potential"]
    for block in blocks[:2]:
        potential = yaml.safe_load(block)["potential"]
        settings = campaign_settings({"potential": {**potential, **shift}})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
        made = load_config(tmp_path / "config.yaml")
        calculator = build_potential(made, initial_potential(made), None)
        assert np.isfinite(calculator.get_potential_energy(alloy_cells(1, 0.02, 0)[0]))


def test_an_energy_that_is_no_number_says_nothing_of_the_shift():
    """As of a single atom, for a model that has no energy of it."""

    class NoAtoms(EMT):
        def calculate(self, atoms=None, *rest):
            super().calculate(atoms, *rest)
            if len(atoms) == 1:
                self.results["energy"] = float("nan")

    frames = [reference(atoms) for atoms in (Atoms("Cu"), *alloy_cells(2, 0.05, 0))]
    keys = PropertyKeys("REF_energy", "REF_forces")
    first, *others = differences(NoAtoms(), frames, keys)
    assert first is None
    assert [one.energy for one in others] == pytest.approx([0.0, 0.0], abs=1e-8)
