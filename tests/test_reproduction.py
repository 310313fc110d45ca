"""scripts/reproduce_paper.py on a small part of the silicon set."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ase_bayesel import ACEDescriptor, fit_surrogate
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.validation.comparison import compare

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import paper_methods
import paper_refit
import reproduce_paper
from silicon_fit import KEYS, WEIGHTS

PICKS = [1, 4, 7]


@pytest.fixture(scope="module")
def small(si2018):
    """Forty structures of the core with the isolated atom, and sixteen of the pool."""
    whole = paper_refit.SiliconSet.read(si2018)
    alone = [atoms for atoms in whole.core if len(atoms) == 1]
    cells = [atoms for atoms in whole.core if 1 < len(atoms) < 20]
    paths = [atoms for atoms in whole.pool if len(atoms) < 60]
    return paper_refit.SiliconSet([*alone, *cells[::5][:40]], paths[:16])


@pytest.fixture(scope="module")
def ace():
    return ACEDescriptor(["Si"], order=3, totaldegree=10)


@pytest.fixture(scope="module")
def design(small, ace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("design")
    paper_refit.load_design(small, ace, folder)
    return paper_refit.load_design(small, ace, folder)


@pytest.fixture(scope="module")
def refitted(design):
    return paper_refit.refit(design, PICKS)


def test_a_refit_is_a_fit_to_core_and_picks(small, ace, refitted):
    frames = [*small.core, *(small.pool[k] for k in PICKS)]
    keys = (KEYS.energy, KEYS.forces, KEYS.virial)
    expected = fit_surrogate(frames, ace, *keys, weights=WEIGHTS)
    assert refitted.noise.energy == pytest.approx(expected.noise.energy, rel=1e-3)
    atoms = small.pool[0]
    assert refitted.energy(atoms) == pytest.approx(expected.energy(atoms), abs=1e-3)
    assert refitted.energy_std(atoms) == pytest.approx(expected.energy_std(atoms), rel=1e-2)


def test_errors_are_those_over_all_structures(small, design, refitted):
    values = paper_refit.judge(design, refitted)
    parity = compare(refitted, small.frames, KEYS)
    assert values["energy_rmse"] == pytest.approx(parity.energy_rmse, rel=1e-6)
    assert values["forces_rmse"] == pytest.approx(parity.forces_rmse, rel=1e-6)
    assert set(values) == set(paper_refit.RESULTS)


def test_surface_targets_are_surface_energies(refitted):
    """The functional of the mean energies is the unrelaxed surface energy of the protocol."""
    targets, coefficients = paper_methods.surface_targets(refitted, paper_refit.SURFACES)
    energies = np.array([refitted.energy(atoms) for atoms in targets])
    for row, atoms, name in zip(coefficients, targets, paper_refit.SURFACES, strict=False):
        area = atoms.get_volume() / atoms.cell[2, 2]
        expected = (refitted.energy(atoms) - len(atoms) * energies[-1] / 2) / (2 * area)
        assert row @ energies == pytest.approx(expected), name


@pytest.mark.parametrize("pool", [0, 1])
def test_sub_pools(pool):
    members = reproduce_paper.pool_members(pool, 186)
    assert len(members) == len(set(members)) == 140
    assert np.array_equal(members, reproduce_paper.pool_members(pool, 186))
    if pool % 2:
        assert not set(members) & set(reproduce_paper.CLEAN_SLABS)


@pytest.mark.slow
def test_quick_runs_and_goes_on_where_it_stopped(small, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    write_frames(data / "core.extxyz", small.core)
    write_frames(data / "surfaces.extxyz", small.pool)
    arguments = ["--data", str(data), "--out", str(out), "--quick"]
    reproduce_paper.main(arguments)
    results, page = out / "quick/results.jsonl", out / "quick/report/results.md"
    finished, written = results.read_bytes(), page.read_text()
    assert "| c-optimal for both, E rows |" in written
    for picture in page.parent.glob("*.png"):
        assert f"({picture.name})" in written

    lines = finished.splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:-8]) + lines[-8][:40])
    reproduce_paper.main(arguments)
    assert results.read_bytes() == finished
    assert page.read_text() == written
