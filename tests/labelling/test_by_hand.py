import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import write
from helpers.structures import cluster, copper, emt_labelled

from ase_bayesel.errors import LabellingError, StructureError
from ase_bayesel.labelling.by_hand import FAILED_KEY, read_labels_by_hand
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
