"""Whatever is written is read back the same, or refused with file, frame and key."""

import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk, fcc100
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.spacegroup import crystal
from helpers.any_frames import KEYS
from helpers.structures import silicon

from ase_bayesel.campaign.exploration.pick_files import pick_bytes, read_pick
from ase_bayesel.campaign.exploration.picks import AtomDeviations, Pick
from ase_bayesel.dynamics.triggers import TriggerReport
from ase_bayesel.errors import StructureError
from ase_bayesel.labelling.engines import ReferenceResult
from ase_bayesel.labelling.store import BY_HAND, Label, LabelStore
from ase_bayesel.structures.frames import check_output, read_frames, write_frames
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.packing import PACKED_KEY, same_value

VALUES = [
    "", " ", "two\nlines", "a\r\nb", "\ttab", 'a "quoted" word', "it's", "back\\slash", "a\\",
    '\\"', "=", "a=b", "a b=c", "{", "}", "[1 2]", "{1 2}", "T", "True", "false", "1", "1.0", "nan",
    "1 2 3", "1_000", "None", "_JSON [1]", "Å ü 电", "\u2028", "\x00", "\ud800", "%22", "%", "a%b",
    "inf", "1e5", ",", "1,2", "'", '"', "species:S:1",
    True, False, np.bool_(True), 0, 7, -3, 2**40, 10**30, np.int64(5), 0.0, 1.5, -1e-300, 1e300,
    float("nan"), float("inf"), np.float32(0.1), 1 + 2j, None,
    [], [1], [1, 2], [1.5, "a"], ["a b", ""], (1, 2), {}, {"a": 1}, {"a": {"b": [None, "x\n"]}},
    {1: 2}, [[1, 2], [3]],
    np.zeros(0), np.ones(1), np.arange(3), np.arange(9.0), np.eye(3), np.ones((2, 2, 2)),
    np.array([True, False]), np.array(["a b", ""]), np.array([1 + 2j]), np.array(1.5),
    np.array([1, 2], "u1"), np.ones((3, 0)), np.array(["x", "y z"], object),
]  # fmt: skip


def round_trip(folder, *frames):
    write_frames(folder / "frames.extxyz", frames)
    return read_frames(folder / "frames.extxyz")


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__} {ascii(v)[:30]}")
def test_values_survive(tmp_path, value):
    """And so does all that stands beside them: none swallows the next key."""
    slab = fcc100("Cu", (2, 2, 3), vacuum=3.0)
    slab.info = {"first": 1, "value": value, "last": "x"}
    slab.pbc = (True, True, False)
    bare, again = round_trip(tmp_path, silicon(), slab)
    assert again.info.keys() == {"first", "value", "last"}
    assert same_value(again.info["value"], value)
    assert (again.info["first"], again.info["last"]) == (1, "x")
    assert again.pbc.tolist() == [True, True, False]
    assert bare.info == {}


@pytest.mark.parametrize("value", [3.25, "two\nlines", np.arange(4.0)], ids=type)
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_survive(tmp_path, key, value):
    atoms = silicon()
    atoms.info = {"first": 1, key: value, "last": "x"}
    (again,) = round_trip(tmp_path, atoms)
    results = {} if again.calc is None else again.calc.results
    found = {**results, **again.info}
    assert found.keys() == {"first", key, "last"}
    assert same_value(found[key], value)
    assert again.pbc.all()


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, datetime.date(2024, 1, 1), len])
def test_values_that_are_refused(tmp_path, value):
    atoms = silicon()
    atoms.info["odd"] = value
    with pytest.raises(StructureError, match=r"f\.xyz, frame 1: info\['odd'\] of type"):
        write_frames(tmp_path / "f.xyz", [silicon(), atoms])
    assert not (tmp_path / "f.xyz").exists()


ARRAYS = {
    "plain": np.arange(8.0),
    "vectors": np.arange(24.0).reshape(8, 3),
    "two": np.arange(16).reshape(8, 2),
    "column": np.arange(8.0)[:, None],
    "tensors": np.arange(72.0).reshape(8, 3, 3),
    "empty": np.ones((8, 0)),
    "flags": np.arange(8) % 2 == 0,
    "masks": np.ones((8, 3), bool),
    "large": np.full(8, 2**40),
    "unsigned": np.arange(8, dtype="u8"),
    "complex": np.arange(8) * 1j,
    "text": np.array(list("abcdefgh")),
    "texts": np.array(["", "a b", "c\n", "'", '"', "x", "y", "z"]),
    "objects": np.array(["", "a b"] * 4, object),
    "nan": np.full(8, np.nan),
    "a:b": np.arange(8.0),
    "a b": np.arange(8.0),
    "Z": np.arange(8),
    "charge": np.arange(8.0),
    "pos": np.ones((8, 3)),
    "species": np.array(["Si1"] * 8),
    "move_mask": np.arange(8),
    "pos0": np.arange(8.0),
    "vectors1": np.arange(8.0),
    "initial_magmoms": np.arange(8.0),
    "initial_charges": np.arange(8.0),
    "noncollinear": np.ones((8, 3)),
    "masses": np.full(8, 2.0),
    "momenta": np.ones((8, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_survive(tmp_path, name):
    atoms = silicon()
    atoms.set_array("vectors", np.ones((8, 3)))
    atoms.arrays[name] = ARRAYS[name]
    (again,) = round_trip(tmp_path, atoms)
    assert again.arrays.keys() == atoms.arrays.keys()
    for key, array in atoms.arrays.items():
        if array.dtype.kind in "fc" and key != "nan":
            np.testing.assert_allclose(again.arrays[key], array, atol=1e-8)
        else:
            np.testing.assert_array_equal(again.arrays[key], array)


def test_arrays_of_objects_are_refused(tmp_path):
    atoms = silicon()
    atoms.arrays["odd"] = np.array([SimpleNamespace()] * 8)
    with pytest.raises(StructureError, match=r"f\.xyz, frame 0: arrays\['odd'\]"):
        write_frames(tmp_path / "f.xyz", [atoms])


RESULTS = {
    "energy": 1.5,
    "free_energy": 1.25,
    "forces": np.arange(24.0).reshape(8, 3),
    "stress": np.arange(6.0),
    "dipole": np.arange(3.0),
    "magmom": 2.0,
    "magmoms": np.arange(8.0),
    "charges": np.arange(8.0),
    "energies": np.arange(8.0),
}


@pytest.mark.parametrize("beside", ["nothing", "same", "other"])
def test_results_of_a_calculator_survive(tmp_path, beside):
    """Also beside keys of the same names."""
    atoms = silicon()
    atoms.calc = SinglePointCalculator(atoms, **RESULTS)
    own = {"same": 1.5, "other": -7.0}.get(beside)
    if own is not None:
        atoms.info["energy"] = own
        atoms.arrays["forces"] = own / 1.5 * RESULTS["forces"]
    (again,) = round_trip(tmp_path, atoms)
    for name, value in RESULTS.items():
        np.testing.assert_allclose(again.calc.results[name], value, atol=1e-8)
    if beside == "other":
        assert again.info["energy"] == -7.0
        np.testing.assert_array_equal(again.arrays["forces"], atoms.arrays["forces"])


def test_lists_of_unequal_lengths_beside_a_result(tmp_path):
    """Under the key of the stress they are no tensor."""
    atoms = silicon()
    atoms.info["stress"] = [[1.0], [2.0, 3.0]]
    atoms.calc = SinglePointCalculator(atoms, stress=np.arange(6.0))
    (again,) = round_trip(tmp_path, atoms)
    assert again.info["stress"] == [[1.0], [2.0, 3.0]]
    assert again.calc.results["stress"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_stress_that_is_no_voigt_vector(tmp_path):
    atoms = silicon()
    atoms.calc = SinglePointCalculator(atoms, stress=np.diag([1.0, 2.0, 3.0]))
    (again,) = round_trip(tmp_path, atoms)
    assert again.calc.results["stress"].tolist() == [1, 2, 3, 0, 0, 0]


def test_space_groups_of_crystals_can_be_written(tmp_path):
    salt = crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3)
    (again,) = round_trip(tmp_path, salt[:2])
    assert again.info["spacegroup"] == "F m -3 m"


def test_what_other_programs_read_stays_plain(tmp_path):
    """Labels, weights and names are as ASE alone would write them."""
    atoms = silicon()
    atoms.info = {"REF_energy": -1.5, "config_type": "bulk", "title": "a b", "note": ""}
    atoms.info["REF_virial"] = np.eye(3)
    atoms.arrays["REF_forces"] = np.ones((8, 3))
    write_frames(tmp_path / "f.extxyz", [atoms])
    theirs = read(tmp_path / "f.extxyz")
    for key in ("REF_energy", "config_type", "title"):
        assert theirs.info[key] == atoms.info[key]
    np.testing.assert_array_equal(theirs.info["REF_virial"], np.eye(3))
    np.testing.assert_array_equal(theirs.arrays["REF_forces"], np.ones((8, 3)))


@pytest.mark.parametrize("text", ["%5B", '{"info": 1}', '{"what": []}', '{"info": [[1]]}', "x"])
def test_a_damaged_key_is_named(tmp_path, text):
    atoms = silicon()
    atoms.info["note"] = ""
    write_frames(tmp_path / "f.extxyz", [atoms])
    content = (tmp_path / "f.extxyz").read_text().splitlines(keepends=True)
    head, _, _ = content[1].partition(f"{PACKED_KEY}=")
    quoted = text.replace('"', "%22")
    content[1] = f'{head}{PACKED_KEY}="{quoted}"\n'
    (tmp_path / "f.extxyz").write_text("".join(content))
    with pytest.raises(StructureError, match=rf"f\.extxyz, frame 0: {PACKED_KEY}"):
        read_frames(tmp_path / "f.extxyz")


@pytest.mark.parametrize("name", ["p.traj", "p.xyz.gz", "p.db", "p.cif", "POSCAR", "p.vasp", "p"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(StructureError, match=rf"{name}: .* \.extxyz or \.xyz"):
        check_output(tmp_path / name)
    check_output(tmp_path / "p.xyz")
    check_output(tmp_path / "P.EXTXYZ")


def test_a_pick_of_overlapping_atoms_and_its_label_can_be_read(tmp_path):
    """No guard held the walker; its label was paid for."""
    atoms = silicon()
    atoms.positions[3] = atoms.positions[0]
    structure = canonical(atoms)
    report = TriggerReport("relative_force", 2.0, 1.0, True, 0)
    deviations = AtomDeviations(np.ones(8), None, None)
    pick = Pick(
        *(structure, structure_id(structure), 0, 7, report, "x", -1.0, 0.5, deviations),
        *(300.0, 0.1),
    )
    (tmp_path / "pick.extxyz").write_bytes(pick_bytes(pick))
    assert read_pick(tmp_path / "pick.extxyz").structure_id == pick.structure_id
    store = LabelStore(tmp_path / "labels")
    store.save(Label(structure, "e1234", "x", ReferenceResult(1.0, None, None)))
    assert store.load(pick.structure_id, "e1234").energy == 1.0


def test_spin_states_have_labels_of_their_own_by_hand_alone(tmp_path):
    """Engines know no moments: for them it is one structure, under the id of old."""
    up, down = bulk("Cu"), bulk("Cu")
    up.set_initial_magnetic_moments([2.0])
    store = LabelStore(tmp_path)
    for settings in (BY_HAND, "e1234"):
        for energy, atoms in ((1.0, down), (2.0, up)):
            store.save(Label(atoms, settings, "x", ReferenceResult(energy, None, None)))
    found = [store.load(structure_id(a), s).energy for s in (BY_HAND, "e1234") for a in (down, up)]
    assert found == [1.0, 2.0, 1.0, 1.0]
    assert structure_id(up).startswith(structure_id(down) + "m")
