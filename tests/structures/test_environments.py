"""Environments cut out of large structures, and what of them is as it was there."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from helpers.structures import copper, jittered, sheared
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_bayesel import ACEDescriptor, CutOut
from ase_bayesel.errors import StructureError
from ase_bayesel.structures.labels import WHOLE

CUTOFF = 3.0


@pytest.fixture(scope="module")
def parent():
    """500 atoms of copper and gold."""
    atoms = copper(3, 0.1, repeat=(5, 5, 5))
    atoms.symbols[np.random.default_rng(0).choice(len(atoms), 100, replace=False)] = "Au"
    return atoms


@pytest.fixture(scope="module")
def descriptor():
    return ACEDescriptor(["Cu", "Au"], order=2, totaldegree=5, cutoff=CUTOFF)


@pytest.mark.parametrize("method", ["periodic", "cluster"])
def test_features_of_whole_atoms_are_those_in_the_structure(parent, descriptor, method):
    cut, indices = CutOut(10.0, method, CUTOFF, stretch=0.05).cut(parent, 17)
    whole = cut.arrays[WHOLE]
    assert indices[0] == 17
    assert 1 < whole.sum() < len(cut) < 120
    there = descriptor.compute([parent])[0].values[indices]
    here = descriptor.compute([cut])[0].values
    np.testing.assert_allclose(here[whole], there[whole], rtol=0, atol=1e-10)
    assert (np.abs(here - there).max(axis=1)[~whole] > 1e-6).all()


def test_forces_of_linear_ace_with_twice_the_cutoff(parent, descriptor):
    cut, indices = CutOut(12.5, reach_A=2 * CUTOFF, stretch=0.0).cut(parent, 201)
    weights = np.random.default_rng(1).normal(size=descriptor.n_features)
    here, there = (descriptor.compute([a], derivatives=True)[0].jacobian for a in (cut, parent))
    forces = [np.einsum("dnx,d->nx", jacobian, weights) for jacobian in (here, there)]
    whole = cut.arrays[WHOLE]
    np.testing.assert_allclose(forces[0][whole], forces[1][indices][whole], rtol=0, atol=1e-8)


def test_forces_of_emt_with_twice_its_cutoff():
    parent = copper(5, 0.1, repeat=(6, 6, 6))
    parent.pbc = False
    parent.calc = EMT()
    there = parent.get_forces()
    reach = 2 * parent.calc.rc_list
    centre = int(np.linalg.norm(parent.positions - parent.positions.mean(0), axis=1).argmin())
    cut, indices = CutOut(2 * reach, "cluster", reach).cut(parent, centre)
    cut.calc = EMT()
    whole = cut.arrays[WHOLE]
    assert whole[0]
    np.testing.assert_allclose(cut.get_forces()[whole], there[indices][whole], rtol=0, atol=1e-8)


def test_edges_follow_the_lattice():
    parent = jittered(bulk("Cu", cubic=True) * (6, 6, 6), 0.03)
    cut, _ = CutOut(10.2, reach_A=4.0).cut(parent, 100)
    assert len(cut) == 108
    np.testing.assert_allclose(cut.cell.lengths(), 10.83, atol=0.15)
    assert distances(cut).min() > 2.2


def distances(atoms):
    return neighbor_list("d", atoms, 4.0)


def test_a_slab_keeps_its_faces():
    slab = jittered(fcc111("Cu", (8, 8, 4), vacuum=8.0), 0.05)
    cut, _ = CutOut(9.0, reach_A=3.5).cut(slab, 200)
    assert cut.pbc.tolist() == [True, True, False]
    assert np.ptp(cut.positions[:, 2]) == pytest.approx(np.ptp(slab.positions[:, 2]), abs=0.3)
    heights = cut.get_scaled_positions(wrap=False)[:, 2]
    assert heights.min() > 0
    assert heights.max() < 1


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pbc=st.tuples(*[st.booleans()] * 3),
    repeat=st.tuples(*[st.integers(2, 4)] * 3),
    method=st.sampled_from(["periodic", "cluster"]),
)
def test_whole_atoms_have_their_neighbours_and_no_others(seed, pbc, repeat, method):
    rng = np.random.default_rng(seed)
    parent = jittered(sheared(bulk("Cu", cubic=True)) * repeat, 0.15, seed)
    parent.pbc = pbc
    parent.symbols[rng.random(len(parent)) < 0.3] = "Au"
    centre, reach = int(rng.integers(len(parent))), rng.uniform(2.6, 3.4)
    rule = CutOut(2 * reach + rng.uniform(0, 2), method, reach, stretch=0.1)
    try:
        cut, indices = rule.cut(parent, centre)
    except StructureError:
        assert method == "cluster"
        assert any(pbc)
        return
    assert (cut.numbers == parent.numbers[indices]).all()
    assert len(set(indices)) == len(indices)
    if WHOLE not in cut.arrays:
        assert len(cut) == len(parent)
        assert (cut.positions == parent.positions).all()
        assert (cut.cell == parent.cell).all()
        return
    whole = cut.arrays[WHOLE]
    assert indices[0] == centre
    assert whole[0]
    here, there = around(cut, reach), around(parent, reach)
    for k, number in enumerate(indices):
        assert whole[k] == same(here[k], there[number]), k


def around(atoms, reach):
    """Elements and vectors of the neighbours of each atom, sorted."""
    first, second, vectors = neighbor_list("ijD", atoms, reach)
    rows = np.column_stack([atoms.numbers[second], np.round(vectors, 5) + 0.0])
    return [rows[first == k] for k in range(len(atoms))]


def same(one, other):
    return len(one) == len(other) and all((np.abs(other - row) < 1e-4).all(1).any() for row in one)


def test_what_cannot_be_cut_is_refused(parent):
    rule = CutOut(8.0, "cluster", CUTOFF)
    charged = parent.copy()
    charged.info["charge"] = 1
    with pytest.raises(StructureError, match=r"frame 3: has charge \+1"):
        rule.cut(charged, 0, "frame 3")
    with pytest.raises(StructureError, match="narrower than a cluster of 8 A"):
        rule.cut(copper(repeat=(2, 5, 5)), 0)
    with pytest.raises(ValueError, match="at least twice as much"):
        CutOut(5.0, reach_A=CUTOFF)
    with pytest.raises(ValueError, match="reach_A"):
        CutOut(8.0).cut(parent, 0)


def test_only_what_makes_a_structure_is_taken_along(parent):
    held = parent.copy()
    held.set_tags(np.arange(len(held)))
    held.set_initial_magnetic_moments(np.linspace(0, 1, len(held)))
    held.set_momenta(np.ones((len(held), 3)))
    cut, indices = CutOut(8.0, reach_A=CUTOFF).cut(held, 3)
    assert (cut.get_tags() == indices).all()
    assert (cut.get_initial_magnetic_moments() == np.linspace(0, 1, len(held))[indices]).all()
    assert "momenta" not in cut.arrays
    assert isinstance(cut, Atoms)
