"""One calculation: what a label holds, how it fails, and what is on disk then."""

import errno
import json
import os
import shutil
from collections import namedtuple
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from helpers.differences import assert_close, strain_differences
from helpers.files import hashes
from helpers.structures import cluster, copper, jittered, with_pbc

from ase_bayesel.errors import (
    CommandError,
    ConfigError,
    LabellingError,
    MissingProgramError,
    NotConvergedError,
    StoreError,
    TerminatedError,
)
from ase_bayesel.labelling import task as labelling
from ase_bayesel.labelling.engines import Engine, ImportedEngine, ReferenceResult, TBLiteEngine
from ase_bayesel.labelling.reference import Reference, properties_of
from ase_bayesel.labelling.task import compute, is_settled, label_of, label_task, labelled
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import PropertyKeys, targets

KEYS = PropertyKeys("my_energy", "my_forces", "my_virial")
ENGINE = ImportedEngine(factory="ase.calculators.emt:EMT")
ALL = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Staged(Engine):
    """A stand-in: each attempt's parameters say what happens in it, and every call is noted."""

    kind: ClassVar[str] = "staged"

    def missing(self, elements):
        return []

    def evaluate(self, atoms, directory, attempt, properties):
        assert not any(directory.iterdir())
        (directory / "out.txt").write_text(f"attempt {attempt}")
        parameters = self.parameters_of(attempt)
        with open(parameters["log"], "a") as log:
            log.write(f"{attempt}\n")
        failure = parameters.get("raises")
        if failure is not None:
            raise failure(f"as told in attempt {attempt}")
        given = ReferenceResult(-1.5, np.full((len(atoms), 3), 0.25))
        return given if "energy" not in parameters else ReferenceResult(parameters["energy"])

    def identity(self, k=0):
        return {"attempt": k, "of": len(self.fallbacks)}


def staged(tmp_path, *attempts):
    first, *fallbacks = attempts
    return Staged({"log": str(tmp_path / "calls"), **first}, tuple(fallbacks))


def calls(tmp_path):
    path = tmp_path / "calls"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def reference_of(tmp_path, engine=ENGINE, **options):
    return Reference(engine, ("energy", "forces"), tmp_path / "labels", **options)


def run(atoms, reference):
    return label_task(atoms, reference, reference.settings(atoms.symbols))


# one calculation


def virial_energy(engine):
    def energy(atoms):
        return compute(atoms, engine, ["energy"]).values.energy

    return energy


def test_label_of_a_crystal():
    atoms = copper(3)
    before = atoms.copy()
    found = compute(atoms, ENGINE, ALL)
    assert atoms == before
    assert atoms.calc is None
    assert (found.ok, found.reason, found.engine) == (True, "", "ase.calculators.emt:EMT")
    assert found.structure_id == structure_id(atoms)
    assert found.wall_s > 0
    assert found.host
    atoms.calc = EMT()
    assert found.values.energy == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(found.values.forces, atoms.get_forces())


def test_virial_is_minus_the_strain_derivative():
    (found,) = labelled([copper(3)], ENGINE, KEYS)
    expected = -strain_differences(virial_energy(ENGINE), copper(3), 1e-5)
    assert_close(targets(found, KEYS).virial, expected, 1e-5)


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_no_stress_without_three_periodic_directions(pbc):
    found = compute(with_pbc(copper(3), pbc), ENGINE, ALL)
    assert found.ok
    assert found.values.stress is None
    assert found.values.forces is not None


def test_only_the_wanted_properties():
    found = compute(copper(3), ENGINE, ["energy"]).values
    assert (found.forces, found.stress) == (None, None)
    assert properties_of(PropertyKeys("e", None, None)) == ("energy",)
    assert properties_of(KEYS) == ALL


def test_forces_are_raw():
    free, fixed = copper(3), copper(3)
    fixed.set_constraint(FixAtoms([0, 1, 2, 3]))
    ours, theirs = (compute(atoms, ENGINE, ALL).values for atoms in (fixed, free))
    np.testing.assert_array_equal(ours.forces, theirs.forces)
    np.testing.assert_array_equal(ours.stress, theirs.stress)
    assert np.abs(ours.forces).max() > 0.01


def test_what_an_engine_raises_is_kept_as_the_reason():
    found = compute(bulk("Si"), ENGINE, ALL)
    assert not found.ok
    assert found.reason.startswith("NotImplementedError")
    with pytest.raises(LabellingError, match="structure 1: NotImplementedError"):
        labelled([copper(1), bulk("Si")], ENGINE, KEYS)


@pytest.mark.parametrize("energy", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_failure(tmp_path, energy):
    found = compute(copper(), staged(tmp_path, {"energy": energy}), ["energy"])
    assert not found.ok
    assert "energy that is not finite" in found.reason


def test_energy_is_consistent_with_the_forces():
    engine = ImportedEngine(factory="helpers.calculators:FreeEnergyEMT")
    assert compute(copper(), engine, ["energy"]).values.energy == -3.0


def test_imported_engine():
    engine = ImportedEngine({"asap_cutoff": True}, factory="ase.calculators.emt:EMT")
    assert engine.make(engine.parameters_of(0)).parameters["asap_cutoff"] is True
    assert engine.missing(["Cu"]) == []


@pytest.mark.parametrize(
    "target",
    ["ase.calculators.emt", "nowhere.to_be:found", "ase.calculators.emt:Nothing", ":x", ""],
)
def test_factory_that_cannot_be_imported(target):
    engine = ImportedEngine(factory=target)
    (problem,) = engine.missing(["Cu"])
    assert "package.module:callable" in problem
    with pytest.raises(ConfigError, match=r"labelling\.factory: .*package\.module:callable"):
        compute(copper(), engine, ["energy"])


def test_tblite_virial_sign():
    engine = TBLiteEngine({"accuracy": 0.01})
    atoms = jittered(bulk("Si", a=5.6), 0.1)
    (found,) = labelled([atoms], engine, KEYS)
    expected = -strain_differences(virial_energy(engine), atoms, 2e-3)
    assert_close(targets(found, KEYS).virial, expected, 2e-3)


def test_tblite_failure_is_a_record():
    overlapping = Atoms("Si2", np.zeros((2, 3)))
    assert compute(overlapping, TBLiteEngine(), ["energy"]).reason
    assert not compute(cluster("H2"), TBLiteEngine(method="no such method"), ["energy"]).ok


# up the fallbacks, to disk


def test_a_label_is_on_disk_and_never_computed_again(tmp_path):
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    outcome = run(copper(), reference)
    assert (outcome.ok, outcome.structure_id) == (True, structure_id(copper()))
    (settings,) = reference.settings(["Cu"])
    values = reference.store.load(structure_id(copper()), settings)
    assert values.energy == -1.5
    np.testing.assert_allclose(values.forces, 0.25)
    before = hashes(tmp_path)
    assert run(copper(), reference) == outcome
    assert hashes(tmp_path) == before
    assert calls(tmp_path) == [0]


def test_the_first_attempt_that_succeeds(tmp_path):
    failing = {"raises": NotConvergedError}
    reference = reference_of(tmp_path, staged(tmp_path, failing, failing, {"raises": None}))
    assert run(copper(), reference).ok
    assert calls(tmp_path) == [0, 1, 2]
    identity, store = structure_id(copper()), reference.store
    settings = reference.settings(["Cu"])
    assert [store.failed(identity, name) for name in settings] == [True, True, False]
    assert label_of(store, settings, identity) == settings[2]
    record = json.loads(store.failure_path(identity, settings[1]).read_text())
    assert record["reason"] == "NotConvergedError: as told in attempt 1"
    assert record["rung"] == 1
    kept = store.output(identity, settings[1])
    assert record["output"] == str(kept)
    assert (kept / "out.txt").read_text() == "attempt 1"
    assert not store.output(identity, settings[2]).exists()
    assert list(store.directory.glob("*/*.running")) == []
    assert list(store.directory.glob("*/.*.lock")) == []


def test_set_aside_when_all_attempts_fail(tmp_path):
    failing = {"raises": NotConvergedError}
    reference = reference_of(tmp_path, staged(tmp_path, failing, {}))
    outcome = run(copper(), reference)
    assert (outcome.ok, outcome.reason) == (False, "NotConvergedError: as told in attempt 1")
    assert is_settled(reference.store, reference.settings(["Cu"]), structure_id(copper()))
    assert run(copper(), reference) == outcome
    assert calls(tmp_path) == [0, 1]


def test_more_fallbacks_go_on_where_fewer_ended(tmp_path):
    class SameNames(Staged):
        def identity(self, k=0):
            return {"attempt": k}

    first = {"log": str(tmp_path / "calls"), "raises": NotConvergedError}
    assert not run(copper(), reference_of(tmp_path, SameNames(first))).ok
    longer = reference_of(tmp_path, SameNames(first, ({"raises": None},)))
    assert not is_settled(longer.store, longer.settings(["Cu"]), structure_id(copper()))
    assert run(copper(), longer).ok
    assert calls(tmp_path) == [0, 1]


def test_settings_have_their_own_labels(tmp_path):
    """By content: parameters and properties count, the way to run does not."""
    first = reference_of(tmp_path).settings(["Cu"])
    assert reference_of(tmp_path / "elsewhere", keep_output=True).settings(["Cu"]) == first
    other = ImportedEngine({"asap_cutoff": True}, factory="ase.calculators.emt:EMT")
    assert reference_of(tmp_path, other).settings(["Cu"]) != first
    assert Reference(ENGINE, ALL, tmp_path).settings(["Cu"]) != first


def test_settings_are_described(tmp_path):
    reference = reference_of(tmp_path)
    reference.describe(["Cu"])
    (settings,) = reference.settings(["Cu"])
    noted = json.loads((tmp_path / "labels" / "settings" / f"{settings}.json").read_text())
    assert noted["factory"] == "ase.calculators.emt:EMT"
    assert noted["computed"] == ["energy", "forces"]


def test_output_is_kept_on_request(tmp_path):
    reference = reference_of(tmp_path, staged(tmp_path, {}), keep_output=True)
    assert run(copper(), reference).ok
    kept = reference.store.output(structure_id(copper()), reference.settings(["Cu"])[0])
    assert (kept / "out.txt").read_text() == "attempt 0"


def test_scratch(tmp_path):
    failing = staged(tmp_path, {"raises": NotConvergedError})
    reference = reference_of(tmp_path, failing, scratch=tmp_path / "scratch")
    assert not run(copper(), reference).ok
    assert list((tmp_path / "scratch").iterdir()) == []
    kept = reference.store.output(structure_id(copper()), reference.settings(["Cu"])[0])
    assert (kept / "out.txt").read_text() == "attempt 0"


def test_what_a_killed_calculation_left_is_removed(tmp_path):
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    left = reference.store.running(structure_id(copper()), reference.settings(["Cu"])[0])
    left.mkdir(parents=True)
    (left / "half.txt").write_text("half")
    assert run(copper(), reference).ok
    assert not left.exists()


@pytest.mark.parametrize("error", [MissingProgramError, ConfigError, TerminatedError])
def test_what_says_nothing_about_the_structure_is_no_record(tmp_path, error):
    reference = reference_of(tmp_path, staged(tmp_path, {"raises": error}))
    with pytest.raises(error):
        run(copper(), reference)
    assert not is_settled(reference.store, reference.settings(["Cu"]), structure_id(copper()))
    assert list(reference.directory.rglob("*.*")) == []


# a full disk: injected, since none can be filled here


def test_a_failure_on_a_full_disk_is_not_the_structures(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 0))
    reference = reference_of(tmp_path, staged(tmp_path, {"raises": RuntimeError}))
    with pytest.raises(StoreError, match="the disk is full"):
        run(copper(), reference)
    assert not is_settled(reference.store, reference.settings(["Cu"]), structure_id(copper()))


def test_a_label_without_space_is_kept_elsewhere(tmp_path, monkeypatch):
    def full(self, label):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "labels/x"))

    monkeypatch.setattr(labelling.tempfile, "gettempdir", lambda: str(tmp_path))
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    with monkeypatch.context() as patch:
        patch.setattr(labelling.LabelStore, "save", full)
        with pytest.raises(StoreError, match=r"No space left.*kept as .*run again") as caught:
            run(copper(), reference)
    (kept,) = tmp_path.glob("ase_bayesel_*.extxyz")
    assert str(kept) in str(caught.value)
    assert run(copper(), reference).ok
    assert calls(tmp_path) == [0]
    assert not kept.exists()


def test_no_room_anywhere_is_told(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr(labelling, "write_atomically", full)
    monkeypatch.setattr(labelling.LabelStore, "save", full)
    with pytest.raises(StoreError, match=r"somewhere: No space left.*nor to .*free some space"):
        run(copper(), reference_of(tmp_path, staged(tmp_path, {})))


def test_a_label_of_somebody_else_is_not_adopted(tmp_path, monkeypatch):
    monkeypatch.setattr(labelling.tempfile, "gettempdir", lambda: str(tmp_path))
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    (settings,) = reference.settings(["Cu"])
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    planted = tmp_path / f"ase_bayesel_12345_{settings}_{structure_id(copper())}.extxyz"
    planted.write_text("planted")
    assert run(copper(), reference).ok
    assert calls(tmp_path) == [0]


def test_a_planted_link_is_not_adopted(tmp_path, monkeypatch):
    """Of a directory where everybody may write: it may lead to a file of the user's own."""
    monkeypatch.setattr(labelling.tempfile, "gettempdir", lambda: str(tmp_path))
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    (settings,) = reference.settings(["Cu"])
    (tmp_path / "mine").write_text("no label")
    planted = tmp_path / f"ase_bayesel_{os.getuid()}_{settings}_{structure_id(copper())}.extxyz"
    planted.symlink_to(tmp_path / "mine")
    assert run(copper(), reference).ok
    assert calls(tmp_path) == [0]


def test_a_damaged_kept_label_is_named_and_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(labelling.tempfile, "gettempdir", lambda: str(tmp_path))
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    (settings,) = reference.settings(["Cu"])
    kept = tmp_path / f"ase_bayesel_{os.getuid()}_{settings}_{structure_id(copper())}.extxyz"
    kept.write_text("torn")
    with pytest.raises(StoreError, match=str(kept)):
        run(copper(), reference)
    assert not is_settled(reference.store, reference.settings(["Cu"]), structure_id(copper()))


def test_a_label_is_not_lost_where_its_output_cannot_be_kept(tmp_path, monkeypatch):
    def full(*args):
        raise shutil.Error([("out.txt", "out.txt", "No space left on device")])

    monkeypatch.setattr(labelling.tempfile, "gettempdir", lambda: str(tmp_path))
    reference = reference_of(tmp_path, staged(tmp_path, {}), keep_output=True)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", full)
        with pytest.raises(StoreError, match=r"No space left.*kept as"):
            run(copper(), reference)
    assert run(copper(), reference).ok
    assert calls(tmp_path) == [0]


def exceeded(*args):
    return OSError(errno.EDQUOT, "Disk quota exceeded")


def without_space(*args):
    return CommandError("pw.x: exit code 1. It ended with: No space left on device")


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (ImportError, MissingProgramError),
        (exceeded, StoreError),
        (without_space, StoreError),
    ],
)
def test_a_fault_of_the_machine_is_no_record(tmp_path, failure, error):
    """A package that is missing on a worker, a quota, a disk with space again."""
    reference = reference_of(tmp_path, staged(tmp_path, {"raises": failure}))
    with pytest.raises(error):
        run(copper(), reference)
    assert not is_settled(reference.store, reference.settings(["Cu"]), structure_id(copper()))


def test_files_that_differ_on_a_worker_are_told(tmp_path):
    """Its label would be one of other settings than those that were asked for."""
    reference = reference_of(tmp_path, staged(tmp_path, {}))
    with pytest.raises(ConfigError, match="not those with which this run began"):
        label_task(copper(), reference, ("e000000000000",))
    assert calls(tmp_path) == []


def test_stores_share_no_directory_of_a_scratch_disk(tmp_path):
    """Two campaigns with labels of their own may compute the same structure at the same time."""
    engine = Nested({"log": str(tmp_path / "calls")})
    inner = Reference(engine, ("energy",), tmp_path / "one", scratch=tmp_path / "scratch")
    outer = Reference(
        Nested({"log": str(tmp_path / "calls"), "during": inner}),
        ("energy",),
        tmp_path / "two",
        scratch=tmp_path / "scratch",
    )
    assert run(copper(), outer).ok
    assert calls(tmp_path) == [0, 0]


class Nested(Staged):
    """Labels the same structure for another store while it runs."""

    def evaluate(self, atoms, directory, attempt, properties):
        found = super().evaluate(atoms, directory, attempt, properties)
        if "during" in self.parameters:
            assert run(atoms, self.parameters["during"]).ok
        assert (directory / "out.txt").exists()
        return found
