"""Small campaigns: written, run to their end, compared, and their calculations counted."""

import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms
from ase.io import read, write

from ase_bayesel import Campaign, Surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended
from ase_bayesel.campaign.prequential import read_pick_errors
from ase_bayesel.structures.identity import structure_id
from helpers.structures import alloy_cells, reference

# 98 features, two rounds in about a second
CAMPAIGN = {
    "seed": 0,
    "descriptor": {"elements": ["Cu", "Al"], "order": 2, "totaldegree": 6, "cutoff": 4.5},
    "data": {"train": "train.extxyz", "test": "test.extxyz", "e0s": "average"},
    "explore": {
        "starts": "starts.extxyz",
        "walkers": 2,
        "steps": 40,
        "picks": 3,
        "temperature_K": 1200.0,
        "timestep_fs": 4.0,
        "ensemble": {"kind": "langevin", "friction_per_fs": 0.02},
        "tau_rel": 0.3,
        "tau_delay": 2,
        "check_interval": 2,
        "trigger": {"kind": "relative_force", "threshold": 0.01},
        "pick": {"settling_fs": 0.0},
        "trust_bound": None,
    },
    "weights": {"high_energy": None},
    "labelling": {"kind": "import", "factory": "ase.calculators.emt:EMT"},
    "workers": {"labelling": {"kind": "here"}},
    "stop": {"max_rounds": 2},
}


def campaign_settings(changes=None) -> dict:
    """`CAMPAIGN` with changes by dotted name, as ``{"explore.picks": 2}``."""
    settings = deepcopy(CAMPAIGN)
    for name, value in (changes or {}).items():
        *sections, key = name.split(".")
        section = settings
        for part in sections:
            section = section[part]
        section[key] = value
    return settings


def write_campaign(folder: Path, changes=None) -> Path:
    """Write the structures and the config of a campaign; returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train.extxyz", [reference(a) for a in alloy_cells(6, 0.05, 0)])
    write(folder / "test.extxyz", [reference(a) for a in alloy_cells(6, 0.15, 100)])
    write(folder / "starts.extxyz", alloy_cells(2, 0.02, 200))
    return write_config(folder, changes)


def write_config(folder: Path, changes=None) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(campaign_settings(changes)))
    return path


def copy_campaign(config: Path, folder: Path) -> Path:
    """Copy a config, its files and its campaign directories; returns the copy's path."""
    shutil.copytree(config.parent, folder, dirs_exist_ok=True)
    for stored in folder.glob("*/config.yaml"):
        stored.write_text(stored.read_text().replace(str(config.parent), str(folder)))
    return folder / config.name


def label_of(directory: Path, pick: Atoms) -> Atoms | None:
    """The label of a pick as it lies in a campaign directory; None if it has none."""
    paths = list(directory.glob(f"labels/*/{structure_id(pick)}.extxyz"))
    assert len(paths) <= 1
    return read(paths[0]) if paths else None


def set_aside(directory: Path, pick: Atoms) -> bool:
    """Whether the record of a failed calculation lies in a campaign directory, and no label."""
    failed = list(directory.glob(f"labels/*/{structure_id(pick)}.failed.json"))
    return bool(failed) and label_of(directory, pick) is None


def campaign(config):
    return Campaign(load_config(config), config.with_name("campaign"))


def ended(config):
    """Run a campaign to its end; returns its store and the last event."""
    running = campaign(config)
    *_, last = running.run()
    assert isinstance(last, Ended)
    return running.store, last


def reports(store):
    return [store.read_report(k) for k in range(store.completed_rounds())]


def picks(store):
    """The picks of all rounds in order."""
    return [pick for k in range(1, store.completed_rounds() + 1) for pick in store.read_batch(k)]


def pick_ids(store):
    return [pick.info["bayesel_id"] for pick in picks(store)]


def final_model(store):
    return Surrogate.load(store.model_path(store.completed_rounds() - 1))


def assert_same_campaign(one, other):
    """Picks and walkers bit for bit, the same labels, and the same final model."""
    assert reports(one) == reports(other)
    assert pick_ids(one) == pick_ids(other)
    assert len(pick_ids(one)) > 0
    for ours, theirs in zip(picks(one), picks(other), strict=True):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
        assert ours.info == theirs.info
        label, expected = label_of(one.directory, ours), label_of(other.directory, theirs)
        assert label.info["REF_energy"] == expected.info["REF_energy"]
        np.testing.assert_array_equal(label.arrays["REF_forces"], expected.arrays["REF_forces"])
    for number in range(1, one.completed_rounds()):
        np.testing.assert_array_equal(
            one.exploration(number).read_trace(), other.exploration(number).read_trace()
        )
        assert_same_errors(read_pick_errors(one, number), read_pick_errors(other, number))
    ours, theirs = final_model(one).posterior, final_model(other).posterior
    scale = np.abs(theirs.mean).max()
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-12 * scale)


def assert_same_errors(one, other):
    """Of picks, bit for bit."""
    assert (one is None) == (other is None)
    for of in () if one is None else ("fitted", "conditioned"):
        ours, theirs = getattr(one, of), getattr(other, of)
        assert ours.keys() == theirs.keys()
        for prop, rows in ours.items():
            for column, values in vars(rows).items():
                np.testing.assert_array_equal(values, getattr(theirs[prop], column))


def counted(folder, changes=None):
    """A campaign whose labels take a while, and are counted; without a canary among them."""
    parameters = {"log": str(folder / "calls.log"), "delay_s": 0.05}
    labelling = {
        "kind": "import",
        "factory": "helpers.calculators:CountingEMT",
        "parameters": parameters,
        "canary": False,
    }
    return write_campaign(folder, {"labelling": labelling, **(changes or {})})


def calls(config):
    log = config.with_name("calls.log")
    return log.read_text().split() if log.exists() else []


def settled(directory):
    return {path.stem for path in directory.glob("labels/*/*.extxyz")}


def by_positions(directory):
    """Identity of every pick by what `CountingEMT` notes of it."""
    files = directory.glob("round_*/picks/[0-9]*.extxyz")
    found = [read(path) for path in files]
    return {atoms.positions.tobytes().hex(): structure_id(atoms) for atoms in found}
