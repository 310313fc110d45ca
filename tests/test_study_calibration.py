"""scripts/study_calibration.py on a small material."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import study_calibration as study
from calibration import materials
from calibration.methods import METHODS
from calibration.report import values


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


def test_all_methods_are_scored_and_written(tmp_path, monkeypatch):
    monkeypatch.setitem(materials.MATERIALS, "small", Small)
    results, page = tmp_path / "runs.jsonl", tmp_path / "page.md"
    command = ["run", "--materials", "small", "--seeds", "0,1", "--results", str(results)]
    assert study.main(command) == 0
    records = study.read(results)
    assert [(r["seed"], r["degree"], r["n_train"]) for r in records] == [(0, 5, 10), (1, 5, 10)]
    for method in METHODS:
        for kind in ("same", "copper"):
            for prop in ("energy", "forces"):
                assert np.isfinite(values(records, method, kind, prop, "z")).all()
    raw = values(records, "raw", "same", "forces", "rmse")
    assert (values(records, "constant", "same", "forces", "rmse") == raw).all()
    before = results.read_text()
    assert study.main(command) == 0
    assert results.read_text() == before
    assert study.main(["report", "--results", str(results), "--page", str(page)]) == 0
    assert "| small | copper |" in page.read_text()
    assert page.with_suffix(".png").exists()
    assert json.loads(before.splitlines()[0])["material"] == "small"
