"""Molecules that are moved as wholes."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.constraints import FixAtoms

from ase_bayesel.cli.material import Material
from ase_bayesel.dynamics.triggers import Guards
from ase_bayesel.generation import Bootstrap, MoveMolecules
from ase_bayesel.generation.molecules import loose_molecules, molecules
from ase_bayesel.generation.recipe import Context, Rejected, origin


def waters(n=3, distance=3.0):
    """A row of water molecules."""
    row = Atoms()
    for k in range(n):
        one = molecule("H2O")
        one.translate([distance * k, 0.0, 0.0])
        row += one
    return row


def boxed():
    """Two molecules in a periodic box, one of them across its edge."""
    pair = waters(2, 4.0)
    pair.set_cell([8.0, 6.0, 6.0])
    pair.pbc = True
    pair.translate([0.0, 0.3, 0.0])
    pair.wrap()
    return pair


def moved(start, **arguments):
    recipe = MoveMolecules(**arguments)
    return list(recipe.frames(origin(start), Context(), np.random.default_rng(1)))


@pytest.mark.parametrize("start", [waters(2), boxed()], ids=["free", "periodic"])
def test_molecules_keep_their_form_and_go_elsewhere(start):
    small, large = moved(start, shifts_A=(0.05, 0.3), rattle_A=0.0)
    for atoms in (small, large):
        for members in ([0, 1, 2], [3, 4, 5]):
            for i in members:
                now, before = (a.get_distances(i, members, mic=True) for a in (atoms, start))
                np.testing.assert_allclose(now, before, atol=1e-6)
        apart = atoms.get_distance(0, 3, mic=True) - start.get_distance(0, 3, mic=True)
        assert abs(apart) > 1e-3
    assert small.info["bayesel_recipe"] == "molecules"
    assert small.info["bayesel_shift_A"] == 0.05


def test_a_molecule_across_an_edge_is_one_piece():
    found = molecules(boxed())
    assert [one.members.tolist() for one in found] == [[0, 1, 2], [3, 4, 5]]
    for one in found:
        assert not one.endless
        assert np.ptp(one.points, axis=0).max() < 1.7


def test_slabs_and_held_molecules_stay():
    slab = fcc100("Cu", (2, 2, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    water = molecule("H2O")
    water.translate(slab.positions[-1] + [0, 0, 4])
    both = slab + water
    (made,) = moved(both, shifts_A=(0.3,), rattle_A=0.0)
    np.testing.assert_allclose(made.positions[:8], both.positions[:8], atol=1e-8)
    assert np.abs(made.positions[8:] - both.positions[8:]).max() > 0.05
    both.set_constraint(FixAtoms([8]))
    assert loose_molecules(both) == []
    for none in (both, molecule("H2O"), bulk("Cu", cubic=True)):
        assert moved(none, shifts_A=(0.1,)) == [Rejected("no_molecules")]


def test_a_bootstrap_moves_starts_of_several_molecules():
    recipe = Bootstrap(isolated=False, rattled=2, moved=4, test=3, shifts_A=(0.1, 0.3))
    frames = recipe.training([molecule("H2O"), waters()], 0, Guards())
    assert [atoms.info["config_type"] for atoms in frames] == [*2 * ["rattle"], *4 * ["molecules"]]
    assert [atoms.info["bayesel_shift_A"] for atoms in frames[2:]] == [0.1, 0.3, 0.1, 0.3]
    assert all(len(atoms) == 9 for atoms in frames[2:])
    held_out = recipe.held_out([molecule("H2O"), waters()], 0, Guards())
    assert {atoms.info["config_type"] for atoms in held_out} == {"rattle", "molecules"}


def test_half_of_the_first_structures_of_several_molecules_are_moved():
    found = Material([waters()]).bootstrap()
    assert (found.rattled, found.moved) == (20, 20)
    assert Material([molecule("H2O")]).bootstrap().moved == 0
    assert Material([bulk("Cu", cubic=True)]).bootstrap().moved == 0
