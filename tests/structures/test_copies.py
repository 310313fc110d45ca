"""Copies among many structures, and what keeps them apart."""

import numpy as np
import pytest
from ase.build import bulk
from helpers.structures import copper, silicon
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import ACEDescriptor, select
from ase_bayesel.errors import SelectionError, StructureError
from ase_bayesel.structures.copies import Copies
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import canonical, structure_id


@given(seed=st.integers(0, 2**32 - 1), pbc=st.tuples(*[st.booleans()] * 3))
def test_images_are_copies(seed, pbc):
    rng = np.random.default_rng(seed)
    atoms = silicon(seed=seed)
    atoms.pbc = pbc
    steps = rng.integers(-2, 3, (8, 3)) * np.array(pbc)
    image = atoms.copy()
    image.positions += steps @ atoms.cell.array
    rounded = canonical(image)
    copies = Copies()
    assert {copies.first(a) for a in (atoms, image, rounded)} == {structure_id(atoms)}
    turned = Copies()
    assert {turned.first(a) for a in (rounded, atoms)} == {structure_id(rounded)}


def moved(atoms):
    atoms.positions[3, 1] += 1e-3


def stretched(atoms):
    atoms.cell[0, 0] += 1e-3


def unwound(atoms):
    atoms.positions[2] += atoms.cell.array[0]
    atoms.pbc = (False, True, True)


def exchanged(atoms):
    atoms.symbols[0] = "Ge"


def charged(atoms):
    atoms.set_initial_charges([1.0] + [0.0] * 7)


def magnetic(atoms):
    atoms.set_initial_magnetic_moments([1.0] * 8)


@pytest.mark.parametrize("change", [moved, stretched, unwound, exchanged, charged, magnetic])
def test_others_are_none(change):
    atoms = silicon()
    other = atoms.copy()
    change(other)
    copies = Copies()
    assert copies.first(atoms) == structure_id(atoms)
    assert copies.first(other) == structure_id(other) != structure_id(atoms)


def test_wrapped_copies_are_not_picked_twice():
    frames = [copper(k) for k in range(4)]
    images = [atoms.copy() for atoms in frames]
    for atoms in images:
        atoms.positions[1:3] += atoms.cell.array[0] - atoms.cell.array[2]
    ace = ACEDescriptor(["Cu"], order=2, totaldegree=6, cutoff=4.5)
    picked = select([*frames, *images], 4, "fps", ace)
    assert sorted(picked.indices % 4) == [0, 1, 2, 3]
    with pytest.raises(SelectionError, match="of the 8 structures of the pool 3 can be picked"):
        select([*frames, *images], 4, "fps", ace, [images[2]])


def test_spin_states_are_structures_of_their_own(tmp_path):
    up, down = copper(), copper()
    up.set_initial_magnetic_moments([1.0] * 4)
    write_frames(tmp_path / "pool.xyz", [up, down])
    ace = ACEDescriptor(["Cu"], order=2, totaldegree=6, cutoff=4.5)
    assert len(select(tmp_path / "pool.xyz", 2, "random", ace, rng=np.random.default_rng(0))) == 2


def test_moments_and_charges_belong_to_a_structure(tmp_path):
    atoms = bulk("Cu", cubic=True)
    plain = structure_id(atoms)
    atoms.set_initial_magnetic_moments([0.0] * 4)
    atoms.set_initial_charges([0.0] * 4)
    assert structure_id(atoms) == plain
    atoms.set_initial_magnetic_moments([1.0, -1.0, 1.0, -1.0])
    atoms.set_initial_charges([0.5, -0.5, 0.5, -0.5])
    kept = canonical(atoms)
    write_frames(tmp_path / "f.xyz", [kept])
    (again,) = read_frames(tmp_path / "f.xyz")
    assert again.get_initial_magnetic_moments().tolist() == [1.0, -1.0, 1.0, -1.0]
    assert again.get_initial_charges().tolist() == [0.5, -0.5, 0.5, -0.5]
    assert structure_id(again) == structure_id(kept) == structure_id(atoms) != plain


def test_faults_of_a_pool_name_the_file_and_the_frame(tmp_path):
    ace = ACEDescriptor(["Cu"], order=2, totaldegree=6, cutoff=4.5)
    write_frames(tmp_path / "pool.xyz", [copper(), copper(1)])
    text = (tmp_path / "pool.xyz").read_text().replace("Cu ", "Cw ", 5)
    (tmp_path / "pool.xyz").write_text(text)
    with pytest.raises(StructureError, match=r"pool\.xyz, frame 0 .*'Cw' is no element"):
        select(tmp_path / "pool.xyz", 1, "random", ace)
