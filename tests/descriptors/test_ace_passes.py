"""What one forward pass of linear ACE serves for, and that no result depends on the way there."""

import numpy as np
import pytest
from ase.build import bulk
from helpers.differences import assert_close

from ase_bayesel import ACEDescriptor
from ase_bayesel.descriptors.base import LinearizedFeatures
from ase_bayesel.structures import neighbours

DESCRIPTORS = {
    "one element": ACEDescriptor("Si", 3, 8, 4.5),
    "two elements": ACEDescriptor(["Si", "Ge"], 3, 6, 4.5),
}


def rattled(repeat, elements, seed=0):
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True) * repeat
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    atoms.symbols = rng.choice(elements, len(atoms))
    return atoms


SIZES = {"images": (1, 1, 1), "no images": (2, 2, 2), "two chunks": (3, 2, 2)}


@pytest.mark.parametrize("repeat", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_features_of_a_pullback_are_those_of_compute(descriptor, repeat):
    atoms = rattled(repeat, descriptor.elements)
    _, pullback = descriptor.linearize(atoms)
    assert isinstance(pullback, LinearizedFeatures)
    ours, theirs = pullback.features(), descriptor.compute([atoms], derivatives=True)[0]
    for name in ("values", "jacobian", "strain"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_jacobians_of_one_structure_and_of_several(descriptor):
    """Few atoms are summed up first where a structure is alone; the pullback is a third way."""
    frames = [rattled((1, 1, 1), descriptor.elements, seed) for seed in range(2)]
    together = descriptor.compute(frames, derivatives=True)
    cotangent = np.random.default_rng(1).normal(size=descriptor.n_features)
    for atoms, theirs in zip(frames, together, strict=True):
        (ours,) = descriptor.compute([atoms], derivatives=True)
        assert_close(ours.jacobian, theirs.jacobian, 1e-12)
        assert_close(ours.strain, theirs.strain, 1e-12)
        gradient = descriptor.vjp(atoms, cotangent)
        assert_close(np.einsum("d,dak->ak", cotangent, ours.jacobian), gradient.positions, 1e-11)
        assert_close(cotangent @ ours.strain, gradient.strain, 1e-11)


def test_rows_and_gradients_do_not_depend_on_what_came_before(monkeypatch):
    descriptor, found = DESCRIPTORS["one element"], []
    atoms, cotangent = rattled((1, 1, 1), ["Si"]), np.ones(descriptor.n_features)
    for history in (0, 5):
        monkeypatch.setattr(neighbours, "_kept", ())
        for k in range(history):
            before = atoms.copy()
            before.positions += 0.01 * (k - history)
            descriptor.linearize(before)
        phi, pullback = descriptor.linearize(atoms)
        found.append((phi, *pullback(cotangent)))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
