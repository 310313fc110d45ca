"""Labels that commit 40e0e20 made are found again: they were paid for.

``labels_40e0e20`` holds a store that its `label_task` wrote (EMT and xTB, one failure), and the
settings that its engines gave to a config each.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import create_model

from ase_bayesel.campaign.config import AnyEngine, Section
from ase_bayesel.campaign.config.loading import validate_config
from ase_bayesel.labelling.engines import ImportedEngine, TBLiteEngine, settings_hash
from ase_bayesel.labelling.reference import Reference
from ase_bayesel.labelling.store import LabelStore
from ase_bayesel.labelling.task import label_of
from ase_bayesel.structures import read_frames, structure_id

HERE = Path(__file__).parent / "labels_40e0e20"
PROPERTIES = ("energy", "forces", "stress")
FRAMES = read_frames(HERE / "structures.extxyz")
IDS = json.loads((HERE / "ids.json").read_text())
ENGINES = {
    "emt": ImportedEngine(factory="ase.calculators.emt:EMT"),
    "xtb": TBLiteEngine(fallbacks=({"max_iterations": 500},)),
}
RENAMED = {"ladder": "fallbacks"}


@pytest.mark.parametrize("name", ENGINES)
def test_labels_are_found_again(name):
    reference = Reference(ENGINES[name], PROPERTIES, HERE / "labels")
    store = LabelStore(HERE / "labels")
    for atoms in FRAMES:
        identity = structure_id(atoms)
        if identity not in IDS[name]:
            continue
        settings, ok = IDS[name][identity]
        assert list(reference.settings(atoms.symbols)) == settings
        assert label_of(store, settings, identity) == (settings[0] if ok else None)
        if ok:
            values = store.load(identity, settings[0])
            assert np.isfinite(values.energy)
            assert values.forces.shape == (len(atoms), 3)
        else:
            assert "No EMT-potential for Si" in store.reason(identity, settings[0])


@pytest.mark.parametrize(
    "row",
    json.loads((HERE / "settings.json").read_text()),
    ids=lambda row: row["labelling"]["kind"],
)
def test_settings_have_the_same_ids(row):
    section = create_model("Labelling", __base__=Section, labelling=(AnyEngine, ...))
    raw = {RENAMED.get(key, key): value for key, value in row["labelling"].items()}
    engine = validate_config({"labelling": raw}, "config", HERE, section).labelling
    assert engine.faults() == []
    of_silicon = engine.only(["Si"])
    found = [settings_hash(of_silicon.identity(k), PROPERTIES) for k in range(len(row["settings"]))]
    assert found == row["settings"]
