"""scripts/study_calibration.py on a small material."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase.build import molecule
from helpers.calculators import Stiffer

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_calibration as study
from calibration import curves, materials, materials_more, supports
from calibration.methods import METHODS, NETWORK_METHODS
from calibration.report import DEFAULT, values


@dataclass(frozen=True)
class Small(materials.Alloy):
    """Few frames of rattled cells, a small basis."""

    name = "small"
    degrees = (5,)

    def frames(self, rng):
        from ase.build import bulk

        cell = bulk("Cu", "fcc", a=3.8, cubic=True)
        cell.symbols = "AuAuCuCu"
        other = bulk("Cu", "fcc", a=3.61, cubic=True)
        frames = materials.rattled([cell], 14, rng)
        return frames[:10], {"same": frames[10:], "copper": materials.rattled([other], 3, rng)}


@dataclass(frozen=True)
class SmallNetwork(Small):
    """Another potential than the mean: what a network is to the methods, trained in no time."""

    name = "small-network"

    def fit(self, train, kinds, degree, seed):
        fit = super().fit(train, kinds, degree, seed)
        return replace(fit, potential=Stiffer(), unseen=range(0, len(train), 2))


AT_ONCE = {"system": "small", "curve": "volume", "worst": dict.fromkeys(supports.FORMS, 2.5)}
"""A curve that need not be computed."""


def ran(material, seeds, folder):
    """The arguments of a run that went well, its results, and a page that is not written yet."""
    results = folder / "runs.jsonl"
    runs = ["run", "--materials", material, "--seeds", seeds, "--results", str(results)]
    assert study.main(runs) == 0
    return runs, results, folder / "page.md"


def test_all_methods_are_scored_and_written(tmp_path, monkeypatch):
    monkeypatch.setitem(materials_more.MATERIALS, "small", Small)
    runs, results, page = ran("small", "0,1", tmp_path)
    records = study.read(results)
    assert [(r["seed"], r["degree"], r["n_train"]) for r in records] == [(0, 5, 10), (1, 5, 10)]
    for method in METHODS:
        for kind in ("same", "copper"):
            for prop in ("energy", "forces"):
                assert np.isfinite(values(records, method, kind, prop, "z")).all()
    raw = values(records, "raw", "same", "forces", "rmse")
    assert (values(records, "constant", "same", "forces", "rmse") == raw).all()
    before = results.read_text()
    assert study.main(runs) == 0
    assert results.read_text() == before
    along = tmp_path / "curves.jsonl"
    points = [[x, 0.3 * x, 0.01, 0.1, 0.2] for x in (0.5, 1.0, 2.0)]
    curve = {"system": "small", "curve": "volume", "coordinate": "length", "points": points}
    along.write_text(json.dumps(curve) + "\n")
    other = tmp_path / "supports.jsonl"
    other.write_text(json.dumps(AT_ONCE) + "\n")
    again = ["supports", *runs[1:], "--supports", str(other)]
    assert study.main(again) == 0
    default = values(records, "left out and support", "copper", "energy", "z")
    ours = [r["z"]["copper"]["left out"] for r in study.read(other)[1:]]
    np.testing.assert_allclose([z["1 - r/d (the default)"] for z in ours], default)
    plain = values(records, "left out", "copper", "energy", "z")
    np.testing.assert_allclose([z["none"] for z in ours], plain)
    files = ["--results", str(results), "--curves", str(along), "--supports", str(other)]
    command = ["report", *files, "--page", str(page)]
    assert study.main(command) == 0
    assert "| small | volume | 60 | 6 | 3 |" in page.read_text()
    assert page.with_name("page_curves.png").exists()
    assert "| small | copper |" in page.read_text()
    assert "| left out | none | 0 of 0 | " in page.read_text()
    assert page.with_suffix(".png").exists()
    assert json.loads(before.splitlines()[0])["material"] == "small"


def test_other_forms_of_what_widens_deviations_of_a_network(tmp_path, monkeypatch):
    monkeypatch.setitem(materials_more.MATERIALS, "small-network", SmallNetwork)
    _, results, page = ran("small-network", "0", tmp_path)
    records = study.read(results)
    z = {
        (method, prop): values(records, method, "copper", prop, "z")
        for method in NETWORK_METHODS
        for prop in ("energy", "forces")
    }
    forces = [z[f, "forces"] for f in ("left out", "root", "own environment", DEFAULT)]
    assert forces[0] > forces[1] > forces[3] > 0
    assert forces[0] > forces[2] >= forces[3]
    energies = [z[f, "energy"] for f in ("left out", "share 0.4", DEFAULT, "share 0.6")]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > energies[-1]
    assert not len(z["root", "energy"])
    scales = [values(records, f, "same", "forces", "scale") for f in ("larger scale", DEFAULT)]
    assert scales[0] >= scales[1]
    none = [f"--{name}={tmp_path / 'none.jsonl'}" for name in ("curves", "supports")]
    assert study.main(["report", "--results", str(results), *none, "--page", str(page)]) == 0
    assert "Of the 1 kinds of networks" in page.read_text()


def test_a_torn_molecule_keeps_the_lengths_of_its_other_bonds():
    butane = molecule("trans-butane")
    torn = curves._torn(butane, 2.0)
    before, after = (a.get_all_distances() for a in (butane, torn))
    kept = np.isclose(before, after)
    halves = {frozenset(np.flatnonzero(row).tolist()) for row in kept}
    assert sorted(map(len, halves)) == [7, 7]
    assert (after[~kept] > before[~kept]).all()
