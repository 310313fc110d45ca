import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import write
from helpers.structures import alloy, cluster, copper, emt_labelled

from ase_bayesel.errors import LabellingError, StructureError
from ase_bayesel.labelling.by_hand import FAILED_KEY, read_labels_by_hand
from ase_bayesel.labelling.engines import ReferenceResult
from ase_bayesel.labelling.store import with_labels
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.labels import PropertyKeys, targets

KEYS = PropertyKeys("energy", "forces", "virial")
PICKS = [canonical(copper(1)), canonical(copper(2)), canonical(cluster("Cu3"))]


def answers(tmp_path, frames, keys=KEYS, picks=PICKS):
    path = tmp_path / "answers.extxyz"
    write(path, frames, format="extxyz")
    return read_labels_by_hand(path, picks, keys)


def training_targets(label):
    return targets(with_labels(label.atoms, label.values, KEYS), KEYS)


def test_labels_in_any_order(tmp_path):
    order = [2, 0, 1]
    found = answers(tmp_path, [emt_labelled(PICKS[k]) for k in order])
    assert [label.structure_id for label in found] == [structure_id(PICKS[k]) for k in order]
    assert all(label.ok for label in found)
    for label, k in zip(found, order, strict=True):
        expected, got = targets(emt_labelled(PICKS[k]), KEYS), training_targets(label)
        assert got.energy == pytest.approx(expected.energy, abs=1e-8)
        np.testing.assert_allclose(got.forces, expected.forces, atol=1e-7)
        if k < 2:
            np.testing.assert_allclose(got.virial, expected.virial, atol=1e-7)
        else:
            assert got.virial is None


def test_the_pick_itself_is_labelled_not_the_answer(tmp_path):
    pick = PICKS[0].copy()
    pick.info["bayesel_walker"] = 3
    pick.set_constraint(FixAtoms([0]))
    answer = emt_labelled(PICKS[0])
    answer.positions += 5e-4
    (label,) = answers(tmp_path, [answer], picks=[pick])
    assert structure_id(label.atoms) == label.structure_id == structure_id(pick)
    assert label.atoms.info["bayesel_walker"] == 3
    assert "energy" not in pick.info
    assert "forces" not in pick.arrays


def test_answers_wrapped_into_the_cell(tmp_path):
    answer = emt_labelled(PICKS[1])
    answer.positions += answer.cell.array[0] - answer.cell.array[2]
    (label,) = answers(tmp_path, [answer])
    assert label.structure_id == structure_id(PICKS[1])


def test_a_structure_can_be_given_up(tmp_path):
    answer = PICKS[0].copy()
    answer.info[FAILED_KEY] = True
    (label,) = answers(tmp_path, [answer])
    assert not label.ok
    assert label.reason
    assert label.structure_id == structure_id(PICKS[0])


def moved(atoms):
    atoms.positions[2, 1] += 2e-3


def stretched(atoms):
    atoms.cell[0, 0] += 2e-3


def transmuted(atoms):
    atoms.symbols[0] = "Au"


def shortened(atoms):
    del atoms[0]


@pytest.mark.parametrize("change", [moved, stretched, transmuted, shortened])
def test_structures_that_are_none_of_the_picks(tmp_path, change):
    stranger = emt_labelled(PICKS[0])
    change(stranger)
    with pytest.raises(LabellingError, match="frame 1: is none of the 3 structures"):
        answers(tmp_path, [emt_labelled(PICKS[1]), stranger])


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_missing_labels_are_named(tmp_path, missing):
    answer = emt_labelled(PICKS[0])
    (answer.info if missing == "energy" else answer.arrays).pop(missing)
    with pytest.raises(LabellingError, match=f"frame 0: has no '{missing}'.*{FAILED_KEY}"):
        answers(tmp_path, [answer])


def test_only_what_the_keys_ask_for(tmp_path):
    answer = emt_labelled(PICKS[0])
    del answer.arrays["forces"]
    (label,) = answers(tmp_path, [answer], PropertyKeys("energy", None))
    assert label.ok


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(StructureError, match="no such file"):
        read_labels_by_hand(tmp_path / "nothing.extxyz", PICKS, KEYS)
    broken = emt_labelled(PICKS[0])
    broken.info["energy"] = np.nan
    with pytest.raises(StructureError, match="frame 0: 'energy' is not finite"):
        answers(tmp_path, [broken])


def test_one_atom(tmp_path):
    atom = Atoms("Cu")
    (label,) = answers(tmp_path, [emt_labelled(atom)], picks=[canonical(atom)])
    assert label.ok


# the same structure, given otherwise

ALLOY = canonical(alloy("CuAuCuAu", seed=3))


def by_element(atoms):
    return atoms[np.argsort(atoms.symbols, kind="stable")]


def reversed_order(atoms):
    return atoms[::-1]


def shuffled(atoms):
    return atoms[np.random.default_rng(0).permutation(len(atoms))]


def wrapped(atoms):
    atoms = by_element(atoms)
    atoms.positions += atoms.cell.array[1]  # none, without a cell
    atoms.positions[0] -= atoms.cell.array[2]
    return atoms


@pytest.mark.parametrize("change", [by_element, reversed_order, shuffled, wrapped])
@pytest.mark.parametrize("pick", [ALLOY, PICKS[0], PICKS[2]], ids=["alloy", "copper", "cluster"])
def test_atoms_in_another_order(tmp_path, change, pick):
    expected = emt_labelled(pick)
    (label,) = answers(tmp_path, [emt_labelled(change(pick.copy()))], picks=[PICKS[1], pick])
    assert structure_id(label.atoms) == structure_id(pick)
    np.testing.assert_allclose(label.values.forces, expected.arrays["forces"], atol=1e-6)
    assert label.values.energy == pytest.approx(expected.info["energy"], abs=1e-8)


def rotated(atoms):
    atoms.rotate(30, "z", rotate_cell=True)
    return atoms


def mirrored(atoms):
    atoms.set_cell(atoms.cell.array * [1, 1, -1])
    atoms.positions *= [1, 1, -1]
    return atoms


def shifted(atoms):
    atoms.positions += 0.25
    return atoms


def shifted_and_sorted(atoms):
    return by_element(shifted(atoms))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rotated, "rotated or mirrored"),
        (mirrored, "rotated or mirrored"),
        (shifted, "shifted origin"),
        (shifted_and_sorted, "shifted origin"),
    ],
)
@pytest.mark.parametrize("pick", [ALLOY, PICKS[2]], ids=["alloy", "cluster"])
def test_what_differs_is_told(tmp_path, change, told, pick):
    frame = emt_labelled(change(pick.copy()))
    with pytest.raises(LabellingError, match=rf"frame 0: is none of the 2 structures.*{told}"):
        answers(tmp_path, [frame], picks=[PICKS[1], pick])


@pytest.mark.parametrize(
    ("of_pick", "of_answer"),
    [
        *((True, pbc) for pbc in (False, (True, True, False), (False, True, True))),
        *((pbc, True) for pbc in (False, (True, True, False))),
        ((True, False, False), (False, False, True)),
    ],
)
def test_a_label_has_the_periodicity_of_the_pick(tmp_path, of_pick, of_answer):
    """Energies of a cluster are none of the crystal that it was cut out of."""
    pick, frame = PICKS[0].copy(), emt_labelled(PICKS[0])
    pick.pbc, frame.pbc = of_pick, of_answer
    with pytest.raises(LabellingError, match=r"frame 0: is periodic along [TF ]+ .*set pbc"):
        answers(tmp_path, [frame], picks=[PICKS[1], pick])
    other = pick.copy()
    other.pbc = of_answer
    (label,) = answers(tmp_path, [frame], picks=[pick, other])
    assert label.structure_id == structure_id(other)


def test_two_labels_of_a_structure(tmp_path):
    one, same, other = (emt_labelled(PICKS[0]) for _ in range(3))
    other.info["energy"] += 5.0
    assert len(answers(tmp_path, [one, same])) == 1
    for frames in ([one, other], [other, one], [one, same, other]):
        with pytest.raises(LabellingError, match=r"contradicts frame 0.*differ by 5 eV"):
            answers(tmp_path, frames)
    other.info["energy"] -= 5.0
    other.arrays["forces"][2, 1] += 0.1
    with pytest.raises(LabellingError, match="contradicts frame 0"):
        answers(tmp_path, [one, other])
    given_up = PICKS[0].copy()
    given_up.info[FAILED_KEY] = True
    with pytest.raises(LabellingError, match=r"contradicts frame 0.*gives the structure up"):
        answers(tmp_path, [one, given_up])


def test_two_spin_states_of_one_geometry(tmp_path):
    up, down = PICKS[0].copy(), PICKS[0].copy()
    up.set_initial_magnetic_moments([1.0] * 4)
    down.set_initial_magnetic_moments([-1.0] * 4)
    frames = [emt_labelled(down), emt_labelled(up)]
    frames[0].info["energy"] += 1.0
    labels = answers(tmp_path, frames, picks=[up, down])
    assert [label.structure_id for label in labels] == [structure_id(down), structure_id(up)]
    with pytest.raises(LabellingError, match=r"geometry of 2 structures.*keep these in the frame"):
        answers(tmp_path, [emt_labelled(PICKS[0])], picks=[up, down])
    (label,) = answers(tmp_path, [emt_labelled(PICKS[0])], picks=[up])
    assert label.structure_id == structure_id(up)


def test_a_virial_of_a_molecule_is_no_stress(tmp_path):
    answer = emt_labelled(PICKS[2])
    answer.info["virial"] = np.zeros((3, 3))
    (label,) = answers(tmp_path, [answer])
    assert label.values.stress is None


def test_a_misspelt_key_is_named(tmp_path):
    answer = emt_labelled(PICKS[0])
    answer.info["energy_dft"] = answer.info.pop("energy")
    with pytest.raises(StructureError, match="frame 0: has no 'energy', but 'energy_dft'"):
        answers(tmp_path, [answer])


@pytest.mark.parametrize("key", ["virial", "REF_stress"])
def test_labels_go_under_the_key_as_it_is_read(key):
    pick, keys = PICKS[0], PropertyKeys("energy", "forces", key)
    values = ReferenceResult(1.0, np.ones((4, 3)), np.arange(6.0))
    again = targets(with_labels(pick, values, keys), keys)
    np.testing.assert_allclose(again.virial, -pick.get_volume() * np.arange(6.0), atol=1e-9)
    molecule = with_labels(PICKS[2], ReferenceResult(1.0, None, np.zeros(6)), keys)
    assert key not in molecule.info
