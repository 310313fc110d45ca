"""Lists of neighbours that are kept: no number depends on what came before."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import compare_atoms

from ase_bayesel.structures import neighbours
from ase_bayesel.structures.calculators import changes, determinant, volume
from ase_bayesel.structures.neighbours import fresh_pairs, pairs_within

CRYSTAL = bulk("Si", cubic=True)
SLAB = bulk("Cu", cubic=True) * (1, 2, 1)
SLAB.pbc = (True, False, True)
START = {"crystal": CRYSTAL, "slab": SLAB, "molecule": molecule("CH3CH2OH")}


@pytest.fixture(autouse=True)
def no_lists(monkeypatch):
    monkeypatch.setattr(neighbours, "_kept", ())


@pytest.fixture
def built(monkeypatch):
    """The skins of all lists that are made."""
    skins, make = [], neighbours._List.__init__

    def counted(self, atoms, cutoff, skin):
        skins.append(skin)
        make(self, atoms, cutoff, skin)

    monkeypatch.setattr(neighbours._List, "__init__", counted)
    return skins


def walk(start, n_steps=40, size=0.03, strain=0.0, seed=0):
    """Structures on a random walk."""
    rng, atoms = np.random.default_rng(seed), start.copy()
    for _ in range(n_steps):
        atoms.positions += rng.normal(0, size, atoms.positions.shape)
        if strain:
            deformed = atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3)))
            atoms.set_cell(deformed, scale_atoms=True)
        yield atoms


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("strain", [0.0, 0.003])
@pytest.mark.parametrize("start", START.values(), ids=START)
def test_kept_lists_change_no_bit(start, strain, built):
    fresh = 0
    for atoms in walk(start, strain=strain if start.cell.rank == 3 else 0.0):
        for cutoff in (3.0, 5.0):
            found = pairs_within(atoms, cutoff)
            assert_same(found, fresh_pairs(atoms, cutoff))
            fresh += 1
    kept = len(built) - fresh
    assert 0 < kept < fresh / 2


def test_a_structure_that_comes_once_gets_no_skin(built):
    for seed in range(3):
        (atoms,) = walk(CRYSTAL, 1, 1.0, seed=seed)
        pairs_within(atoms, 4.0)
    assert built == [neighbours.MARGIN_A] * 3


def test_walkers_that_take_turns_keep_their_lists(built):
    walkers = [walk(CRYSTAL, 20, 0.003, seed=seed) for seed in range(4)]
    for k, walker in enumerate(walkers):
        first = next(walker)
        first.positions += np.random.default_rng(k).normal(0, 0.5, first.positions.shape)
    for frames in zip(*walkers, strict=True):
        for atoms in frames:
            pairs_within(atoms, 4.0)
    assert len(built) <= 8


def test_wrapped_atoms_have_the_same_neighbours():
    (atoms,) = walk(CRYSTAL, 1, 0.1)
    before = pairs_within(atoms, 5.0)
    atoms.positions[2] += atoms.cell[0] - 2 * atoms.cell[1]
    after = pairs_within(atoms, 5.0)
    np.testing.assert_array_equal(before.first, after.first)
    np.testing.assert_allclose(np.sort(before.lengths), np.sort(after.lengths), atol=1e-12)


def test_lists_of_large_structures_are_not_kept():
    atoms = bulk("Cu", cubic=True) * (6, 6, 6)
    pairs_within(atoms, 3.0)
    assert neighbours._kept == ()


def test_atoms_far_outside_of_the_cell():
    atoms = CRYSTAL.copy()
    atoms.positions[0] += 1e9 * atoms.cell[0]
    atoms.positions[1] -= 1e9 * atoms.cell[1]
    first, second, _, lengths = pairs_within(atoms, 2.5)
    assert np.bincount(first).tolist() == [4] * 8
    assert (np.diff(first) >= 0).all()
    np.testing.assert_allclose(lengths, 2.35, atol=0.01)
    assert len(second) == 32


def changed(**arrays):
    atoms = CRYSTAL.copy()
    for name, values in arrays.items():
        atoms.set_array(name, values)
    return atoms


OTHERS = {
    "nothing": CRYSTAL.copy(),
    "a position": changed(positions=CRYSTAL.positions + np.eye(8, 3)),
    "numbers": changed(numbers=np.arange(1, 9)),
    "charges": changed(initial_charges=np.ones(8)),
    "momenta": changed(momenta=np.ones((8, 3))),
    "size": CRYSTAL * (1, 1, 2),
    "pbc": Atoms(CRYSTAL, pbc=(True, True, False)),
    "cell": Atoms(CRYSTAL, cell=CRYSTAL.cell * 1.1),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_changes_are_those_of_ase(other):
    assert set(changes(CRYSTAL, other)) == set(compare_atoms(CRYSTAL, other))


def test_volume():
    cell = np.random.default_rng(0).normal(size=(3, 3))
    assert determinant(cell) == pytest.approx(np.linalg.det(cell), rel=1e-12)
    assert volume(Atoms(cell=cell)) == pytest.approx(abs(np.linalg.det(cell)), rel=1e-12)
    with pytest.raises(ValueError, match="volume"):
        volume(Atoms())
