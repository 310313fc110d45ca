"""GPAW for real, where it is installed."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from ase_bayesel.errors import NotConvergedError
from ase_bayesel.labelling.engines import GPAWEngine, settings_hash

needs_gpaw = pytest.mark.optional("gpaw")

ALL = ("energy", "forces", "stress")
ENGINE = GPAWEngine(
    {
        "mode": {"name": "pw", "ecut": 200},
        "xc": "PBE",
        "kpts": {"size": [2, 2, 2]},
        "occupations": {"name": "fermi-dirac", "width": 0.5},
        "convergence": {"density": 1e-7},
    },
    ({"maxiter": 3},),
)


def silicon():
    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    return atoms


@needs_gpaw
@pytest.mark.slow
def test_forces_derive_from_the_energy(tmp_path):
    """Wide smearing, so that the free energy and the one at 0 K have different slopes."""
    atoms, h = silicon(), 0.01
    parameters = dict(ENGINE.parameters)
    found = ENGINE.evaluate(atoms, tmp_path, 0, ALL)

    def energy(by):
        other = atoms.copy()
        other.positions[0] += by
        return ENGINE.evaluate(other, tmp_path, 0, ["energy"]).energy

    direction = np.array([0.6, -0.5, 0.62])
    slope = (energy(h * direction) - energy(-h * direction)) / (2 * h)
    assert -found.forces[0] @ direction == pytest.approx(slope, abs=2e-3)
    assert found.stress.shape == (6,)
    assert found.version.startswith("gpaw ")
    assert (tmp_path / "gpaw.txt").is_file()
    assert ENGINE.parameters == parameters
    with pytest.raises(NotConvergedError):
        ENGINE.evaluate(atoms, tmp_path, 1, ["energy"])


@needs_gpaw
@pytest.mark.slow
def test_setups_from_a_folder(tmp_path):
    """Without Si.LDA in the folder the default search path is not taken."""
    import gpaw

    shutil.copy(Path(gpaw.standard_setup_paths()[-1]) / "Si.PBE.gz", tmp_path)
    engine = replace(ENGINE, setup_path=tmp_path)
    assert engine.missing(["Si"]) == []
    expected = ENGINE.evaluate(bulk("Si"), tmp_path, 0, ["energy"]).energy
    found = engine.evaluate(bulk("Si"), tmp_path, 0, ["energy"]).energy
    assert found == pytest.approx(expected, abs=1e-9)
    lda = replace(engine, parameters={**ENGINE.parameters, "xc": "LDA"})
    with pytest.raises(FileNotFoundError):
        lda.evaluate(bulk("Si"), tmp_path, 0, ["energy"])


@needs_gpaw
def test_missing(tmp_path):
    assert ENGINE.missing(["Si"]) == []
    (problem,) = ENGINE.missing(["Og", "Si"])
    assert "Og" in problem
    (problem,) = replace(ENGINE, setup_path=tmp_path / "none").missing(["Si"])
    assert "none" in problem
    assert len(replace(ENGINE, parameters={}).missing(["Si"])) == 3
    assert len(replace(ENGINE, fallbacks=({"txt": "-"},)).missing(["Si"])) == 1


def test_identity_counts_the_setups(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "same").mkdir()
    for folder, text in (("one", "a"), ("two", "b"), ("same", "a")):
        (tmp_path / folder / "Si.PBE").write_text(text)
    names = [
        settings_hash(replace(ENGINE, setup_path=tmp_path / folder).identity(), ALL)
        for folder in ("one", "two", "same")
    ]
    assert names[0] == names[2] != names[1]


def test_without_gpaw(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw", None)
    (problem,) = ENGINE.missing(["Si"])
    assert "docs/engines.md" in problem
