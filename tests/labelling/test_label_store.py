import errno
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from ase.io import read
from helpers.files import hashes
from helpers.structures import alloy_cells, cluster, copper, emt_labelled, with_pbc

from ase_bayesel.errors import LockedError, StoreError
from ase_bayesel.io.atomic import write_atomically
from ase_bayesel.io.locks import locked
from ase_bayesel.labelling.engines import ReferenceResult
from ase_bayesel.labelling.store import Label, LabelStore, label_bytes, with_labels
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import PropertyKeys, targets

STARTS = alloy_cells(2, 0.1, 0)
KEYS = PropertyKeys("my_energy", "my_forces", "my_virial")


def good(atoms, settings="e1", engine="EMT"):
    known = emt_labelled(atoms)
    stress = None
    if atoms.pbc.all():
        stress = -known.info["virial"] / atoms.get_volume()
        stress = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    values = ReferenceResult(known.info["energy"], known.arrays["forces"], stress, "EMT 1")
    return Label(atoms, settings, engine, values, wall_s=0.1234567, host="here")


def failed(atoms, reason="no convergence", settings="e1"):
    return Label(atoms, settings, "EMT", reason=reason, wall_s=2.0, host="here")


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels")


@pytest.mark.parametrize("atoms", [copper(3), cluster("CuAlCu")], ids=["crystal", "cluster"])
def test_round_trip(store, atoms):
    store.save(good(atoms))
    found, expected = store.load(structure_id(atoms), "e1"), good(atoms).values
    assert found.energy == expected.energy
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-8)
    assert (found.stress is None) == (expected.stress is None) == (not atoms.pbc.all())
    if found.stress is not None:
        np.testing.assert_allclose(found.stress, expected.stress, rtol=1e-12)
    assert found.version == "EMT 1"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("", ""), ("7", "7"), ("PW 7.2\n of 2023", "PW 7.2 of 2023"), ('"a" = {b}\\', "a = {b}")],
)
@pytest.mark.parametrize("pbc", [True, False, (True, True, False)])
def test_no_name_of_a_version_damages_a_label(store, version, expected, pbc):
    """Least of all that of a calculator without one."""
    atoms = with_pbc(copper(1), pbc)
    values = ReferenceResult(-1.0, np.zeros((len(atoms), 3)), None, version)
    store.save(Label(atoms, "e1", "EMT", values, host=""))
    assert store.load(structure_id(atoms), "e1").version == expected


def test_a_label_is_a_training_structure(store):
    """The file itself, as a training code reads it."""
    store.save(good(copper(3)))
    frame = read(store.path(structure_id(copper(3)), "e1"))
    assert frame.info["REF_energy"] == good(copper(3)).values.energy
    assert frame.arrays["REF_forces"].shape == (4, 3)
    assert np.reshape(frame.info["REF_stress"], (3, 3)).shape == (3, 3)
    facts = {"engine": "EMT", "settings": "e1", "rung": 0, "wall_s": 0.123, "host": "here"}
    assert {key: frame.info[f"bayesel_{key}"] for key in facts} == facts


def test_training_labels_are_those_of_the_reference():
    labelled = with_labels(copper(3), good(copper(3)).values, KEYS)
    expected = targets(emt_labelled(copper(3)), PropertyKeys("energy", "forces", "virial"))
    found = targets(labelled, KEYS)
    assert found.energy == expected.energy
    np.testing.assert_allclose(found.forces, expected.forces)
    np.testing.assert_allclose(found.virial, expected.virial)
    assert copper(3).info == {}


def test_nothing_there(store):
    assert store.load("s0", "e1") is None
    assert not store.failed("s0", "e1")
    assert store.counts() == (0, 0, 0)


def test_a_label_is_never_overwritten(store):
    store.save(good(STARTS[0], engine="first"))
    before = hashes(store.directory)
    store.save(failed(STARTS[0]))
    store.save(good(STARTS[0], engine="second"))
    assert hashes(store.directory) == before
    assert not store.failed(structure_id(STARTS[0]), "e1")


def test_a_failure_gives_way_to_a_label(store):
    identity = structure_id(STARTS[0])
    store.save(failed(STARTS[0], "first"))
    assert store.failed(identity, "e1")
    assert store.reason(identity, "e1") == "first"
    record = json.loads(store.failure_path(identity, "e1").read_text())
    assert (record["reason"], record["wall_s"], record["host"]) == ("first", 2.0, "here")
    assert not store.failed(identity, "e2")
    store.save(good(STARTS[0]))
    assert not store.failed(identity, "e1")
    assert store.load(identity, "e1") is not None


def test_structures_and_settings_do_not_meet(store):
    store.save(good(STARTS[0], "e1"))
    store.save(good(STARTS[1], "e2"))
    assert store.load(structure_id(STARTS[0]), "e2") is None
    assert store.load(structure_id(STARTS[1]), "e1") is None


def test_damaged_files_are_named(store):
    identity = structure_id(STARTS[0])
    store.save(good(STARTS[0]))
    path, content = store.path(identity, "e1"), label_bytes(good(STARTS[0]))
    other = label_bytes(good(STARTS[1]))
    for damaged in (b"", content[:-60], content.replace(b"REF_energy=", b"REF_energy=x"), other):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"{identity}.*move it away"):
            store.load(identity, "e1")
    store.save(failed(STARTS[1]))
    store.failure_path(structure_id(STARTS[1]), "e1").write_text("{")
    with pytest.raises(StoreError, match=r"failed\.json: is damaged.*made again"):
        store.reason(structure_id(STARTS[1]), "e1")


def test_settings_are_described_once(store):
    store.describe("e1", {"kind": "x"})
    store.describe("e1", {"kind": "y"})
    assert json.loads((store.directory / "settings" / "e1.json").read_text()) == {
        "format": "ase_bayesel.settings/1",
        "kind": "x",
    }


HOLD = """
import sys, time
from pathlib import Path
from ase_bayesel.io.atomic import write_atomically
from ase_bayesel.io.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_says_who_holds_it_and_dies_with_them(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        message = f"lock: is held.*process {holder.pid} on "
        with pytest.raises(LockedError, match=message), locked(path):
            pass
        holder.kill()
        holder.wait()
        with locked(path):
            assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_a_lock_is_taken_by_one_after_the_other(tmp_path):
    """Four processes add up under a lock that each of them removes."""
    code = """
import sys
from pathlib import Path
from ase_bayesel.io.atomic import write_atomically
from ase_bayesel.io.locks import locked
total = Path(sys.argv[1])
for _ in range(50):
    with locked(total.with_name("lock"), wait=True):
        total.write_text(str(int(total.read_text()) + 1))
"""
    total = tmp_path / "total"
    total.write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", code, total]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert total.read_text() == "200"


def test_the_directory_is_listed_without_reading(store):
    """10,000 labels; memory does not grow with them."""
    folder = store.directory / "e1"
    folder.mkdir(parents=True)
    for k in range(10_000):
        (folder / f"s{k:015x}.extxyz").touch()
    tracemalloc.start()
    assert store.counts() == (10_000, 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_a_lock_on_a_full_disk_is_taken_and_left(tmp_path, monkeypatch):
    """Who holds it cannot be noted then; a worker that lives on must not keep it."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with locked(tmp_path / "lock"):
            pass
    with locked(tmp_path / "lock"):
        pass


def test_the_same_file_from_two_machines(tmp_path, monkeypatch):
    """Process ids are small and equal where each runs in a container."""
    path, replace = tmp_path / "file", os.replace

    def meanwhile(*names):
        monkeypatch.setattr(os, "replace", replace)
        write_atomically(path, b"theirs")
        replace(*names)

    monkeypatch.setattr(os, "replace", meanwhile)
    write_atomically(path, b"ours")
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]
