"""A corrected label by hand replaces the one before, as long as its batch waits."""

import json

import pytest
from ase.io import read, write
from helpers.campaigns import ended, label_of, write_campaign
from helpers.structures import reference


@pytest.fixture
def waiting(tmp_path):
    """A campaign with the first of three labels in place, 0.1 eV off."""
    config = write_campaign(tmp_path, {"labelling": "none", "stop.max_rounds": 1})
    store, _ = ended(config)
    put(store, 0.1, count=1)
    _, last = ended(config)
    assert "2 structures wait" in last.reason
    return config, store


def put(store, off_eV, count=3):
    frames = [reference(atoms) for atoms in store.read_batch(1)[:count]]
    frames[0].info["REF_energy"] += off_eV
    write(store.by_hand_path(1), frames, format="extxyz")


def changes(store):
    path = store.directory / "changes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_it_replaces_the_one_before_and_is_noted(waiting):
    config, store = waiting
    first = store.read_batch(1)[0]
    right = reference(first).info["REF_energy"]
    assert label_of(store.directory, first).info["REF_energy"] == pytest.approx(right + 0.1)
    assert changes(store) == []
    put(store, 0.0)
    ended(config)
    assert label_of(store.directory, first).info["REF_energy"] == pytest.approx(right)
    (noted,) = changes(store)
    assert (noted["round"], noted["corrected_label"]) == (1, first.info["bayesel_id"])
    (old,) = store.labels.directory.glob("by_hand/*.old_1")
    assert read(old, format="extxyz").info["REF_energy"] == pytest.approx(right + 0.1)


def test_the_same_label_again_is_no_correction(waiting):
    config, store = waiting
    put(store, 0.1)
    ended(config)
    assert changes(store) == []
    assert not list(store.labels.directory.glob("by_hand/*.old_*"))


def test_a_structure_can_be_given_up_and_taken_up_again(waiting):
    config, store = waiting
    first = store.read_batch(1)[0]
    given_up = first.copy()
    given_up.info["bayesel_failed"] = True
    write(store.by_hand_path(1), [given_up], format="extxyz")
    ended(config)
    assert label_of(store.directory, first) is None
    put(store, 0.0)
    ended(config)
    assert label_of(store.directory, first) is not None
    assert store.read_report(1).failed == 0
    assert len(changes(store)) == 2
