"""``bayesel check-engine``."""

import re
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write
from ase.units import GPa
from helpers import program_doubles
from helpers.campaigns import write_campaign
from helpers.command_line import assert_refused, call
from helpers.structures import alloy_cells

from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.cli.check_engine import run_engine_check
from ase_bayesel.labelling.engines import settings_hash

FALLBACKS = {
    "kind": "import",
    "factory": "helpers.calculators:failing_emt",
    "parameters": {"fails": False},
    "fallbacks": [{"fails": True}],
}
LAMMPS = {
    "kind": "lammps",
    "species": ["Cu"],
    "files": ["nothing.eam"],
    "command": ["no-such-program"],
}
ORCA = {
    "kind": "orca",
    "parameters": {"simple": "HF"},
    "command": [sys.executable, program_doubles.__file__, "orca", "unconverged"],
}


@pytest.fixture
def directories(tmp_path, monkeypatch):
    """Where calculations without ``--keep`` run."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return lambda: list((tmp_path / "scratch").iterdir())


@pytest.fixture
def campaign(tmp_path):
    """A config with this labelling."""

    def written(labelling, **changes):
        return write_campaign(tmp_path / "campaign", {"labelling": labelling, **changes})

    return written


def rows(text):
    found = re.findall(r"^│ (\S.*?) +│ (.*?) +│$", text, flags=re.MULTILINE)
    return dict(found)


def test_numbers_of_the_smallest_start(campaign, directories, monkeypatch):
    config = campaign(FALLBACKS)
    small = Atoms("Cu2", [[0, 0, 0], [1.7, 1.9, 0.1]], cell=3.6 * np.eye(3), pbc=True)
    write(config.parent / "starts.extxyz", [*alloy_cells(2, 0.1, 0), small])
    monkeypatch.setattr("ase_bayesel.labelling.task.time.perf_counter", iter([1.0, 3.54]).__next__)
    result = call("check-engine", config)
    assert result.exit_code == 0, result.output
    shown = rows(result.output)
    small.calc = EMT()
    forces = small.get_forces()
    assert shown["engine"] == "helpers.calculators:failing_emt"
    assert shown["program"] == "in this process"
    assert shown["structure"].startswith("Cu2, s")
    assert shown["wall time"] == "2.5 s"
    assert shown["energy"] == f"{small.get_potential_energy():.6f} eV"
    assert shown["largest force"] == f"{np.linalg.norm(forces, axis=1).max():.4f} eV/A"
    assert float(shown["sum of forces"].split()[0]) < 1e-6
    engine = load_config(config).engine
    expected = settings_hash(engine.identity(0), ["energy", "forces"])
    assert shown["settings"] == f"{expected}, attempt 0"
    assert "pressure" not in shown
    assert directories() == []


def test_pressure_where_virials_are_labels(campaign):
    config = campaign(FALLBACKS, **{"data.virial_key": "REF_virial"})
    atoms = alloy_cells(1, 0.1, 0)[0]
    write(config.parent / "other.extxyz", [atoms, *alloy_cells(2, 0.2, 1)])
    result = call("check-engine", config, "--structure", config.parent / "other.extxyz")
    atoms.calc = EMT()
    pressure = -np.trace(atoms.get_stress(voigt=False)) / 3 / GPa
    assert rows(result.output)["pressure"] == f"{pressure:.3f} GPa"


def test_failure_keeps_its_directory(campaign, directories):
    result = call("check-engine", campaign(FALLBACKS), "--attempt", 1)
    assert result.exit_code == 1
    (directory,) = directories()
    assert "failed: RuntimeError: the [engine] is broken\n" in result.output
    assert f"files: {directory}\n" in result.output


def test_values_that_are_not_finite(campaign):
    labelling = {"kind": "import", "factory": "helpers.calculators:nan_emt"}
    result = call("check-engine", campaign(labelling))
    assert result.exit_code == 1
    assert "not finite" in result.output


def test_unconverged_program(campaign, tmp_path):
    config = campaign(ORCA)
    write(tmp_path / "molecule.xyz", Atoms("CuAl", [[0, 0, 0], [0, 0, 2]]))
    result = call(
        *("check-engine", config, "--structure", tmp_path / "molecule.xyz"),
        *("--keep", tmp_path / "kept"),
    )
    assert result.exit_code == 1
    assert "failed: NotConvergedError: orca" in result.output
    assert sys.executable in result.output.replace("\n", "")
    assert (tmp_path / "kept" / "orca.inp").is_file()


def test_missing_things_have_a_line_each(campaign, directories):
    config = campaign(LAMMPS)
    result = call("check-engine", config)
    assert result.exit_code == 2
    missing = [line for line in result.output.splitlines() if line.startswith("missing: ")]
    assert len(missing) == 4
    for line, part in zip(
        missing, ("no-such-program", "commands", "Al", "nothing.eam"), strict=True
    ):
        assert part in line
    assert rows(result.output)["program"] == "not found"
    assert directories() == []


def test_labels_by_hand(campaign):
    result = call("check-engine", campaign("none"))
    assert result.exit_code == 0
    assert "by hand" in result.output
    assert run_engine_check(load_config(campaign("none"))) is None


def test_kept_and_refused_directories(campaign, tmp_path):
    config = campaign(FALLBACKS)
    assert call("check-engine", config, "--keep", tmp_path / "new" / "one").exit_code == 0
    assert (tmp_path / "new" / "one").is_dir()
    (tmp_path / "new" / "one" / "mine").write_text("precious")
    result = call("check-engine", config, "--keep", tmp_path / "new" / "one")
    assert_refused(result, tmp_path / "new" / "one", "not empty")


@pytest.mark.parametrize("attempt", [-1, 2])
def test_no_such_attempt(campaign, attempt):
    assert_refused(
        call("check-engine", campaign(FALLBACKS), "--attempt", attempt), f"attempt {attempt}"
    )


def test_no_such_structure(campaign, tmp_path):
    result = call("check-engine", campaign(FALLBACKS), "--structure", tmp_path / "none.xyz")
    assert_refused(result, "none.xyz")
