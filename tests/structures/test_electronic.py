"""Charge and multiplicity of a structure: what is one, what of it is kept, and what it decides."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel.errors import StructureError
from ase_bayesel.structures import read_frames
from ase_bayesel.structures.copies import Copies
from ase_bayesel.structures.electronic import ElectronicState, different_states, electronic_state
from ase_bayesel.structures.frames import write_frames
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.reference_energies import is_isolated


def water(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    "info",
    [
        {"charge": 0},
        {"spin": 1},
        {"spin": 0},
        {"charge": 0.0, "spin": 1.0},
        {"charge": np.int64(0)},
    ],
    ids=str,
)
def test_the_usual_state_leaves_the_id_as_it_is(info):
    assert structure_id(water(**info)) == structure_id(water()) == "s01203b9c43eebc5"
    assert canonical(water(**info)).info == {}


STATES = [{}, {"charge": 1}, {"charge": -1}, {"spin": 3}, {"charge": 1, "spin": 2}, {"charge": 2}]


def test_each_state_has_an_id_and_is_no_copy_of_another():
    known = Copies()
    ids = [known.first(water(**info)) for info in STATES]
    assert len(set(ids)) == len(STATES)
    assert ids == [structure_id(water(**info)) for info in STATES]


@pytest.mark.parametrize("info", STATES, ids=str)
def test_a_file_keeps_it(info, tmp_path):
    atoms = canonical(water(**info))
    assert atoms.info == info
    write_frames(tmp_path / "a.xyz", [atoms])
    (again,) = read_frames(tmp_path / "a.xyz")
    assert structure_id(again) == structure_id(water(**info))
    assert electronic_state(again) == ElectronicState(info.get("charge", 0), info.get("spin", 1))


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"charge": 0.5}, "'charge' is 0.5"),
        ({"charge": float("nan")}, "'charge' is nan"),
        ({"charge": float("inf")}, "'charge' is inf"),
        ({"charge": "1+"}, "'charge' is '1"),
        ({"charge": True}, "'charge' is"),
        ({"charge": [1, 2]}, "'charge' is .1, 2."),
        ({"charge": 11}, "neutral atoms have 10 electrons"),
        ({"charge": -11}, "neutral atoms have 10 electrons"),
        ({"spin": -1}, "'spin' is -1, no multiplicity"),
        ({"spin": 1.5}, "'spin' is 1.5"),
        ({"spin": "triplet"}, "'spin' is 'triplet'"),
        ({"spin": 12}, "'spin' is 12, no multiplicity 2S.1 of 10 electrons"),
        ({"charge": 9, "spin": 3}, "of 1 electrons"),
    ],
    ids=str,
)
def test_what_is_no_state_is_refused_by_file_and_frame(info, named, tmp_path):
    write_frames(tmp_path / "a.xyz", [water(), water(**info)])
    with pytest.raises(StructureError, match=rf"a\.xyz, frame 1: .*{named}"):
        read_frames(tmp_path / "a.xyz")


@given(charge=st.integers(-10, 10), spin=st.integers(1, 20))
def test_a_state_is_taken_as_it_is_or_refused(charge, spin):
    atoms = water(charge=charge, spin=spin)
    if spin > 10 - charge + 1:
        with pytest.raises(StructureError):
            electronic_state(atoms)
    else:
        state = electronic_state(atoms)
        assert state == (charge, spin)
        assert canonical(atoms).info == state.own
        assert structure_id(canonical(atoms)) == structure_id(atoms)


def test_structures_of_several_states():
    assert different_states([water(), water(charge=0), water(spin=1)]) is None
    assert different_states([water(), water(), water(charge=1)]) == (0, 2)
    assert different_states([water(charge=1), water(charge=1), water(charge=1, spin=2)]) == (0, 2)
    assert different_states([water(), water(charge=1)], ["spin"]) is None
    oxygen = Atoms("O", info={"spin": 3})
    assert different_states([water(), oxygen]) is None
    assert is_isolated(oxygen)
    assert not is_isolated(Atoms("O", info={"charge": -1}))
