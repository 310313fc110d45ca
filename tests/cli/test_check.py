"""The command ``bayesel check``: its config, its results, its errors."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from helpers.command_line import assert_refused, call
from helpers.mace_models import needs_mace, save_model, tiny_mace

from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.cli.check import CheckConfig, run_check, tables
from ase_bayesel.cli.models import named_model
from ase_bayesel.errors import ConfigError, ValidationError
from ase_bayesel.surrogate.scales import Scale, Scales
from ase_bayesel.validation import Facet, crystal_quantities, relax, surface_functional
from ase_bayesel.validation.surfaces import J_PER_M2

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/check_a_model.md"
COPPER = {
    "crystal": {"name": "Cu", "a": 3.6},
    "elastic": False,
    "surfaces": [{"miller": [1, 0, 0], "layers": 3}],
    "phonons": {"supercell": [2, 2, 2], "points": 12, "qpoints": {"half": [0.25, 0, 0.25]}},
    "references": {"a": 3.615, "gamma (100)": 1.0},
    "members": 4,
}


def written(folder, **changes):
    path = folder / "check.yaml"
    path.write_text(yaml.safe_dump(COPPER | changes))
    return path


def test_table_and_files(tmp_path, cu_surrogate):
    cu_surrogate.save(tmp_path / "cu.npz")
    out = tmp_path / "out"
    result = call("check", tmp_path / "cu.npz", "--config", written(tmp_path), "--out", out)
    assert result.exit_code == 0, result.output
    assert "gamma (100)" in result.output
    content = json.loads((out / "check.json").read_text())
    lattice, surface = content["quantities"]
    assert lattice["name"] == "a"
    assert lattice["reference"] == 3.615
    assert lattice["std"] > 0
    calculator = cu_surrogate.calculator()
    crystal = relax(bulk("Cu"), calculator, cell=True)
    functional = surface_functional(crystal, calculator, Facet((1, 0, 0), 3), None)
    assert surface["value"] == pytest.approx(functional.value(calculator) / J_PER_M2, rel=1e-4)
    assert surface["std"] == pytest.approx(functional.std(cu_surrogate) / J_PER_M2, rel=1e-3)
    phonons = content["phonons"]
    assert phonons["names"] == ["G", "K", "L", "U", "W", "X", "half"]
    assert len(phonons["along_path"]["std"]) == len(phonons["along_path"]["qpoints"]) >= 12
    assert (out / "phonons.png").read_bytes().startswith(b"\x89PNG")


def test_error_bars_carry_the_scales_of_the_surrogate(tmp_path, cu_surrogate):
    config = load_config(written(tmp_path), CheckConfig)
    plain = run_check(cu_surrogate, config)
    scales = Scales(Scale(3.0, 0.1, 9), Scale(5.0, 0.1, 9))
    scaled = run_check(replace(cu_surrogate, scales=scales), config)
    for one, other in zip(plain.quantities, scaled.quantities, strict=True):
        assert other.value == one.value
        assert other.std == pytest.approx(3 * one.std)
    assert scaled.bands.named.std == pytest.approx(5 * plain.bands.named.std)
    assert "times 3 (training set left out in turn)" in tables(scaled)[0].caption
    assert tables(plain)[0].caption is None


def test_runs_repeat(tmp_path, cu_surrogate):
    settings = load_config(written(tmp_path, phonons=None), CheckConfig)
    assert run_check(cu_surrogate, settings) == run_check(cu_surrogate, settings)


def test_any_calculator(tmp_path):
    config = written(tmp_path, elastic=True, phonons=None, references={"C44": 90.0})
    result = call("check", "ase.calculators.emt:EMT", "-c", config, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "check.json").read_text())["quantities"]
    assert [q["name"] for q in found] == ["a", "C11", "C12", "C44", "bulk modulus", "gamma (100)"]
    assert [q["std"] for q in found] == [None] * 6
    expected = {q.name: q.value for q in crystal_quantities(bulk("Cu", a=3.6), EMT())}
    assert found[3]["value"] == pytest.approx(expected["C44"])
    assert "phonons" not in json.loads((tmp_path / "out" / "check.json").read_text())


def test_the_docs_show_a_valid_config():
    block = re.search(r"```yaml\n(# check.yaml.*?)```", PAGE.read_text(), re.DOTALL)[1]
    settings = validate_config(yaml.safe_load(block), "page", schema=CheckConfig)
    assert settings.phonons.path == "GXU,KGL"


def test_crystal_from_a_file(tmp_path):
    write(tmp_path / "cu.extxyz", bulk("Cu", a=3.5))
    changes = {"crystal": {"file": "cu.extxyz"}, "phonons": None}
    settings = load_config(written(tmp_path, **changes), CheckConfig)
    assert run_check(EMT(), settings).quantities[0].value == pytest.approx(3.59, abs=0.01)


@needs_mace
def test_a_mace_file(tmp_path):
    save_model(tiny_mace(), tmp_path / "cu.model")
    settings = load_config(written(tmp_path), CheckConfig)
    calculator = named_model(str(tmp_path / "cu.model"), settings.head, settings.device)
    assert calculator.get_potential_energy(bulk("Cu")) < 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"surface": []}, "surface: "),
        ({"members": 1}, "members: "),
        ({"crystal": {"a": 3.6}}, "exactly one of name and file"),
        ({"crystal": {"name": "Cu", "file": "x.xyz"}}, "exactly one of name and file"),
        ({"crystal": {"file": "x.xyz", "a": 3.6}}, "nothing else is used beside it"),
        ({"crystal": {"file": "x.xyz"}}, "x.xyz"),
        ({"crystal": {"name": "Cu", "crystalstructure": "cube"}}, "crystal: ASE cannot build it"),
        ({"surfaces": [{"miller": [0, 0, 0], "layers": 3}]}, "0 0 0 is no plane"),
        ({"surfaces": [{"miller": [1, 0], "layers": 3}]}, "surfaces.0.miller"),
        ({"phonons": {"supercell": [2, 2, 0]}}, "phonons.supercell.2"),
        ({"phonons": {"supercell": [2, 2, 2], "path": "GY"}}, "phonons.path: 'GY'"),
        (
            {"references": {"b": 3.6, "C11": 1.0}},
            "references: C11, b not computed; known: a, gamma",
        ),
    ],
)
def test_wrong_configs_are_named(tmp_path, changes, named):
    config = written(tmp_path, **changes)
    result = call("check", "ase.calculators.emt:EMT", "--config", config, "-o", tmp_path / "out")
    assert_refused(result, named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("missing.npz", "missing.npz"),
        pytest.param("missing.model", "missing.model: no such MACE model file", marks=needs_mace),
        ("no.module:maker", "model: cannot import 'no.module:maker'"),
    ],
)
def test_wrong_models_are_named(tmp_path, model, named):
    assert_refused(call("check", model, "--config", written(tmp_path)), named)


def test_crystal_without_periodicity_is_refused(tmp_path):
    atoms = bulk("Cu")
    atoms.pbc = (True, True, False)
    write(tmp_path / "slab.extxyz", atoms)
    settings = load_config(written(tmp_path, crystal={"file": "slab.extxyz"}), CheckConfig)
    with pytest.raises(ConfigError, match="periodic in three directions"):
        run_check(EMT(), settings)


def test_missing_phonopy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    settings = load_config(written(tmp_path, references={}, surfaces=[]), CheckConfig)
    with pytest.raises(ValidationError, match=r"ase_bayesel\[validation\]"):
        run_check(EMT(), settings)
