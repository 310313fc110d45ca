"""The recipe of first training structures: what it makes, and what it refuses."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from helpers.structures import with_pbc

from ase_bayesel.dynamics.triggers import Guards
from ase_bayesel.errors import GenerationError
from ase_bayesel.generation import Bootstrap
from ase_bayesel.structures.checks import check_structure
from ase_bayesel.structures.electronic import electronic_state
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.reference_energies import is_isolated

CRYSTAL = bulk("Cu", cubic=True) * 2
ALLOY = bulk("Cu", cubic=True)
ALLOY.symbols[0] = "Au"
WATER = molecule("H2O")


def kinds(frames):
    return [atoms.info["config_type"] for atoms in frames]


def test_it_makes_what_it_is_asked_for():
    recipe = Bootstrap(strained=3, rattled=4, dimers=2, max_strain=0.03, amplitudes_A=(0.02, 0.1))
    frames = recipe.training([ALLOY, CRYSTAL], 0, Guards())
    assert kinds(frames) == [*2 * ["isolated"], *6 * ["dimer"], *3 * ["strain"], *4 * ["rattle"]]
    for k, atoms in enumerate(frames):
        check_structure(atoms, f"frame {k}")
    assert [is_isolated(atoms) for atoms in frames] == [True] * 2 + [False] * 13
    assert not any(atoms.pbc.any() for atoms in frames[:8])
    assert [str(atoms.symbols) for atoms in frames[2:8:2]] == ["Au2", "AuCu", "Cu2"]
    starts = [ALLOY, CRYSTAL]
    for k, atoms in enumerate(frames[8:11]):
        assert atoms.info["bayesel_parent"] == structure_id(starts[k % 2])
        deformation = np.linalg.solve(starts[k % 2].cell.array, atoms.cell.array)
        assert 0 < np.abs(deformation - np.eye(3)).max() <= 0.03 + 1e-6
    for k, atoms in enumerate(frames[11:]):
        moved = atoms.positions - starts[k % 2].positions
        assert 0.4 < np.std(moved) / (0.02, 0.1)[k % 2] < 1.6
        np.testing.assert_array_equal(atoms.cell.array, starts[k % 2].cell.array)


def test_pairs_are_as_far_apart_as_it_says():
    frames = Bootstrap(dimers=3, shortest=1.0, longest=2.0).training([CRYSTAL], 0, Guards())
    distances = [atoms.get_distance(0, 1) for atoms in frames if len(atoms) == 2]
    np.testing.assert_allclose(distances, np.array([1.0, 1.5, 2.0]) * 2 * 1.32, atol=1e-6)


def test_the_same_seed_gives_the_same_and_larger_counts_keep_the_first():
    few, many = (Bootstrap(strained=n, rattled=n, test=n) for n in (2, 5))
    ids = {}
    for name, recipe, seed in (("few", few, 3), ("again", few, 3), ("many", many, 3)):
        frames = recipe.training([CRYSTAL], seed, Guards())
        ids[name] = [structure_id(atoms) for atoms in frames]
    assert ids["few"] == ids["again"]
    assert set(ids["few"]) < set(ids["many"])
    others = [structure_id(atoms) for atoms in few.training([CRYSTAL], 4, Guards())]
    assert len(set(others) & set(ids["few"])) == 1  # the isolated atom


def test_what_is_held_out_is_of_the_same_kinds_and_none_of_the_training_set():
    recipe = Bootstrap(strained=4, rattled=8, test=6)
    train, test = (f([CRYSTAL], 0, Guards()) for f in (recipe.training, recipe.held_out))
    assert sorted(kinds(test)) == [*4 * ["rattle"], *2 * ["strain"]]
    assert len({structure_id(atoms) for atoms in (*train, *test)}) == 13 + 6


def test_what_is_held_out_lies_where_walkers_go():
    recipe = Bootstrap(strained=0, rattled=9, amplitudes_A=(0.05, 0.1, 0.2), test=9)
    frames = recipe.held_out([CRYSTAL], 0, Guards())
    assert {atoms.info["bayesel_amplitude_A"] for atoms in frames} == {0.05, 0.1}


def test_molecules_are_rattled_alone_and_single_atoms_strained_alone():
    frames = Bootstrap(strained=5, rattled=3, amplitudes_A=(0.05,)).training([WATER], 0, Guards())
    assert kinds(frames) == ["isolated", "isolated", *3 * ["rattle"]]
    frames = Bootstrap(strained=2, rattled=3).training([bulk("Cu")], 0, Guards())
    assert kinds(frames) == ["isolated", "strain", "strain"]


def test_a_slab_is_strained_along_itself_alone():
    slab = with_pbc(CRYSTAL, (True, True, False))
    (made,) = Bootstrap(isolated=False, strained=1, rattled=0).training([slab], 0, Guards())
    np.testing.assert_allclose(made.cell.array[2], slab.cell.array[2], atol=1e-8)


def test_isolated_atoms_have_the_multiplicity_of_their_ground_state_where_it_is_taken():
    recipe = Bootstrap(rattled=1)
    frames = recipe.training([WATER], 0, Guards(), with_spin=True)
    assert {str(a.symbols): electronic_state(a).spin for a in frames[:2]} == {"H": 2, "O": 3}
    usual = recipe.training([WATER], 0, Guards())
    assert {electronic_state(atoms).spin for atoms in usual} == {1}


@pytest.mark.parametrize(
    ("starts", "changes", "told"),
    [
        ([Atoms("Cu")], {}, "no structure can be made of the starts"),
        ([WATER], {"rattled": 0, "strained": 1}, "no structure can be made of the starts"),
        ([CRYSTAL], {"amplitudes_A": (1.0,)}, "close_contact in 50 tries; lower amplitudes_A"),
    ],
)
def test_starts_that_give_nothing_are_named(starts, changes, told):
    with pytest.raises(GenerationError, match=told):
        Bootstrap(**changes).training(starts * 2, 0, Guards(close_contact=0.9))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"strained": 0, "rattled": 0}, "strained, rattled"), ({"longest": 0.5}, "longest")],
)
def test_a_recipe_of_nothing_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Bootstrap(**changes)
