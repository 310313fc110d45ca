"""Random projections of force rows against the exact ones."""

import numpy as np
import pytest
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import copper, copper_training

from ase_bayesel import MACEDescriptor, fit_surrogate
from ase_bayesel.descriptors.base import Features, Sketch
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate import design
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.design import chunks, iterate_sketches
from ase_bayesel.surrogate.steps import finished

pytestmark = needs_mace

KEYS = PropertyKeys("energy", "forces", "virial")


@pytest.fixture(scope="module")
def descriptor():
    return MACEDescriptor(mace_calculator(tiny_mace()))


def force_rows(descriptor, atoms):
    jacobian = descriptor.compute([atoms], derivatives=True)[0].jacobian
    return -jacobian.transpose(1, 2, 0).reshape(-1, descriptor.n_features)


def test_projections_of_the_exact_rows(descriptor):
    frames = [copper(0), copper(1, repeat=(2, 2, 1))]
    for atoms, sketch in zip(
        frames, descriptor.sketch(frames, 5, np.random.default_rng(0)), strict=True
    ):
        assert set(np.unique(sketch.moves)) == {-1.0, 1.0}
        signs = sketch.moves.reshape(5, -1)
        expected = signs @ force_rows(descriptor, atoms) / np.sqrt(5)
        np.testing.assert_allclose(sketch.force_rows, expected, rtol=1e-8, atol=1e-9)
        exact = descriptor.compute([atoms], derivatives=True)[0]
        np.testing.assert_allclose(sketch.strain, exact.strain, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(sketch.values, exact.values, rtol=1e-12)
        forces = np.random.default_rng(1).normal(size=(len(atoms), 3))
        np.testing.assert_allclose(sketch.project(forces), signs @ forces.ravel() / np.sqrt(5))


def test_the_gram_matrix_is_unbiased(descriptor):
    atoms, m = copper(0), 400
    rows = force_rows(descriptor, atoms)
    gram = rows.T @ rows
    (sketch,) = descriptor.sketch([atoms], m, np.random.default_rng(2))
    error = np.linalg.norm(sketch.force_rows.T @ sketch.force_rows - gram)
    stated = np.sqrt((np.trace(gram) ** 2 + np.linalg.norm(gram) ** 2) / m)
    assert 0.0 < error < 2.0 * stated


def test_exact_where_that_is_no_dearer(descriptor):
    frames = [copper(0), copper(1, repeat=(2, 2, 1))]
    kinds = [type(found) for found in iterate_sketches(frames, descriptor, 12)]
    assert descriptor.n_features == 12
    assert kinds == [Features, Features]
    found = list(iterate_sketches(frames, descriptor, 11))
    sizes = [3 * len(atoms) for atoms in frames]
    assert [isinstance(one, Sketch) for one in found] == [size > 11 for size in sizes]
    with pytest.raises(ValueError, match="n_projections"):
        descriptor.sketch(frames, 0, np.random.default_rng(0))


def test_the_same_sketches_in_chunks(descriptor, monkeypatch):
    monkeypatch.setattr(design, "BATCH_ATOMS", 9)
    monkeypatch.setattr(design, "CHUNK_ATOMS", 20)
    frames = [copper(k, repeat=(1 + k % 2, 1, 1)) for k in range(9)]
    whole = list(iterate_sketches(frames, descriptor, 4))
    parts = chunks(frames)
    assert len(parts) > 2
    split = [s for p in parts for s in iterate_sketches(frames[p], descriptor, 4, p.start)]
    for ours, theirs in zip(split, whole, strict=True):
        np.testing.assert_array_equal(ours.force_rows, theirs.force_rows)
    assert not np.array_equal(whole[0].moves, whole[4].moves)


def test_fit_from_projections_is_close_to_the_exact_one(descriptor):
    frames = copper_training()
    exact = fit_surrogate(frames, descriptor, virial_key="virial")
    sketched = fit_surrogate(frames, descriptor, virial_key="virial", force_projections=8)
    again = fit_surrogate(frames, descriptor, virial_key="virial", force_projections=8)
    fresh = [copper(k, repeat=(2, 1, 1)) for k in range(50, 56)]
    ratios = [sketched.energy_std(atoms) / exact.energy_std(atoms) for atoms in fresh]
    assert np.all(np.abs(np.log(ratios)) < np.log(2.0))
    assert sketched.noise.forces == pytest.approx(exact.noise.forces, rel=0.4)
    np.testing.assert_array_equal(again.posterior.mean, sketched.posterior.mean)


def test_observations_are_counted_in_full(descriptor):
    frames = copper_training()
    e0s, scale = {"Cu": 0.0}, descriptor.prior_std()
    exact = finished(assembling(frames, descriptor, KEYS, e0s, scale))
    sketched = finished(assembling(frames, descriptor, KEYS, e0s, scale, 4))
    for prop, factor in exact.labelled.items():
        assert sketched.labelled[prop].n_rows == factor.n_rows
    for prop in ("energy", "virial"):
        ours, theirs = (f.labelled[prop].triangle for f in (sketched, exact))
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-6, atol=1e-8)
