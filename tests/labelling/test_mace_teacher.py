"""A MACE model as the engine."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from helpers.mace_models import mace_calculator, needs_cuda, needs_mace, save_model, tiny_mace
from helpers.structures import alloy_cells

from ase_bayesel.descriptors.mace import loading
from ase_bayesel.descriptors.torch import runtime
from ase_bayesel.labelling.engines import MACEEngine, settings_hash

pytestmark = needs_mace

ALL = ("energy", "forces", "stress")


@pytest.fixture(scope="module")
def model():
    return tiny_mace(("Al", "Cu"))


@pytest.fixture
def engine(model, tmp_path):
    save_model(model, tmp_path / "teacher.model")
    return MACEEngine(model=str(tmp_path / "teacher.model"))


def test_labels_are_those_of_the_model(engine, model, tmp_path):
    for atoms in alloy_cells(2, 0.1, 0):
        found = engine.evaluate(atoms, tmp_path, 0, ALL)
        atoms.calc = mace_calculator(model)
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-10)
        np.testing.assert_allclose(found.stress, atoms.get_stress(), atol=1e-10)
        assert found.version.startswith("mace-torch ")


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu(engine, tmp_path):
    for atoms in alloy_cells(2, 0.1, 0):
        cpu, gpu = (
            replace(engine, device=device).evaluate(atoms, tmp_path, 0, ALL)
            for device in ("cpu", "cuda")
        )
        assert gpu.energy == pytest.approx(cpu.energy, abs=1e-10)
        np.testing.assert_allclose(gpu.forces, cpu.forces, atol=1e-10)
        np.testing.assert_allclose(gpu.stress, cpu.stress, atol=1e-10)


def test_loaded_once_until_the_file_changes(engine, tmp_path, monkeypatch):
    loads = []
    load = loading.load_module
    monkeypatch.setattr(loading, "load_module", lambda *given: loads.append(given) or load(*given))
    structures = alloy_cells(3, 0.1, 0)
    same = pickle.loads(pickle.dumps(engine))
    energies = [same.evaluate(atoms, tmp_path, 0, ALL).energy for atoms in structures]
    engine.missing(["Cu"])
    assert len(loads) == 1
    save_model(tiny_mace(("Al", "Cu"), seed=5), engine.model)
    os.utime(engine.model, (1, 1))
    changed = [engine.evaluate(atoms, tmp_path, 0, ALL).energy for atoms in structures]
    assert len(loads) == 2
    assert not np.isclose(changed, energies).any()


def test_threads_do_not_share_results(engine, tmp_path):
    structures = alloy_cells(6, 0.2, 0)
    expected = [engine.evaluate(atoms, tmp_path, 0, ALL) for atoms in structures]
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda atoms: engine.evaluate(atoms, tmp_path, 0, ALL), structures)
        for one, other in zip(found, expected, strict=True):
            assert one.energy == pytest.approx(other.energy, abs=1e-12)
            np.testing.assert_allclose(one.forces, other.forces, atol=1e-12)


def test_calculations_wait_for_each_other(engine, tmp_path):
    """Torch's default dtype, in which mace makes its tensors, is one for all threads."""
    (atoms,) = alloy_cells(1, 0.2, 0)
    expected = engine.evaluate(atoms, tmp_path, 0, ALL)
    with ThreadPoolExecutor(1) as pool:
        with runtime.default_dtype("float32"):
            waiting = pool.submit(engine.evaluate, atoms, tmp_path, 0, ALL)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            assert torch.get_default_dtype() == torch.float32
        assert waiting.result().energy == expected.energy


def test_identity(engine, tmp_path):
    shutil.copy(engine.model, tmp_path / "copy.model")
    assert replace(engine, model=str(tmp_path / "copy.model")).identity() == engine.identity()
    assert replace(engine, device="cuda").identity() == engine.identity()
    names = [replace(engine, **change) for change in ({}, {"dtype": "float32"}, {"head": "dft"})]
    assert len({settings_hash(one.identity(), ALL) for one in names}) == 3
    assert str(tmp_path) not in json.dumps(engine.identity())


def test_missing(engine, tmp_path):
    assert engine.missing(["Al", "Cu"]) == []
    (problem,) = engine.missing(["Au", "Cu"])
    assert problem.startswith("Au: ")
    (problem,) = replace(engine, model=str(tmp_path / "none.model")).missing(["Cu"])
    assert "none.model" in problem
    (problem,) = replace(engine, model="mace_mp:nothing").missing(["Cu"])
    assert "mace_mp:nothing" in problem


def test_stress_needs_three_periodic_directions(engine, tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.pbc = (True, True, False)
    assert engine.evaluate(atoms, tmp_path, 0, ALL).stress is None
