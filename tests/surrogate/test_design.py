import pickle

import numpy as np
import pytest
from ase import Atoms
from helpers.differences import assert_close
from helpers.structures import copper, copper_training, emt_labelled

from ase_bayesel.descriptors.base import Features
from ase_bayesel.errors import StructureError
from ase_bayesel.structures.labels import FitTargets, PropertyKeys
from ase_bayesel.structures.reference_energies import composition_energy, fitted_targets
from ase_bayesel.surrogate import design, row_factors
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.design import (
    Noise,
    chunks,
    iterate_features,
    property_rows,
    property_targets,
    usable_properties,
    weighted_rows,
)
from ase_bayesel.surrogate.row_factors import RowFactor
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.triangular import append_rows

KEYS = PropertyKeys("energy", "forces", "virial")
E0S = {"Cu": 3.5}


@pytest.fixture
def features():
    """Two atoms, four features, every entry different."""
    count = np.arange(1.0, 33.0)
    return Features(count[:8].reshape(2, 4), count[:24].reshape(4, 2, 3), -count[:24].reshape(4, 6))


def test_rows_are_linear_observations(features):
    coefficients = np.array([1.0, -2.0, 0.5, 3.0])
    energy, forces, virial = (property_rows(features, p) for p in ("energy", "forces", "virial"))
    assert (energy.shape, forces.shape, virial.shape) == ((1, 4), (6, 4), (6, 4))
    assert energy @ coefficients == pytest.approx(coefficients @ features.values.sum(axis=0))
    gradient = np.einsum("d,dik->ik", coefficients, features.jacobian)
    np.testing.assert_allclose((forces @ coefficients).reshape(2, 3), -gradient)
    np.testing.assert_allclose(virial @ coefficients, -coefficients @ features.strain)


def test_rows_need_derivatives(features):
    bare = Features(features.values)
    assert property_rows(bare, "energy").shape == (1, 4)
    for prop in ("forces", "virial"):
        with pytest.raises(ValueError, match=f"{prop} rows need"):
            property_rows(bare, prop)


def test_weights(features):
    noise = Noise(energy=0.5, forces=0.25, virial=2.0)
    assert noise.std("energy", 4) == 1.0
    assert noise.std("forces", 4) == 0.25
    assert noise.std("virial", 4) == 4.0
    rows = weighted_rows(features, noise, ("energy", "forces", "virial"))
    assert rows.shape == (13, 4)
    np.testing.assert_allclose(rows[0], property_rows(features, "energy")[0] / (0.5 * 2**0.5))
    np.testing.assert_allclose(rows[1:7], property_rows(features, "forces") / 0.25)
    np.testing.assert_allclose(rows[7:], property_rows(features, "virial") / (2 * 2**0.5))


def test_virial_needs_three_periodic_directions():
    everything = ("energy", "forces", "virial")
    assert usable_properties(copper(), everything) == everything
    assert usable_properties(Atoms("Cu"), everything) == ("energy", "forces")
    slab = Atoms("Cu", cell=[3, 3, 9], pbc=(True, True, False))
    assert usable_properties(slab, everything) == ("energy", "forces")


def test_targets_belong_to_the_rows():
    labels = FitTargets(7.0, np.arange(6.0).reshape(2, 3), None)
    assert property_targets(labels, "energy", 3.0).tolist() == [4.0]
    assert property_targets(labels, "forces", 3.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert property_targets(labels, "virial", 3.0) is None


def test_row_factor_in_many_parts_equals_one():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(k, 6)) for k in (1, 300, 700, 7)]
    scale = np.logspace(-2, 2, 6)
    factor = RowFactor(scale)
    for block in blocks:
        factor.add(block, block[:, 0])
    rows = np.concatenate(blocks)
    at_once = append_rows(np.zeros((7, 7)), np.column_stack([rows * scale, rows[:, 0]]))
    assert factor.n_rows == 1008
    np.testing.assert_allclose(factor.triangle, at_once, rtol=1e-9, atol=1e-9)


def test_features_in_order_across_batches(cu_ace):
    frames = [copper(0, repeat=(3, 4, 4)), copper(1), copper(2, repeat=(5, 5, 4)), Atoms("Cu")] * 2
    lengths = [len(features.values) for features in iterate_features(frames, cu_ace)]
    assert lengths == [len(atoms) for atoms in frames]


def test_assembled_factor_against_the_dense_matrix(cu_ace):
    frames = copper_training()
    scale = cu_ace.prior_std()
    factors = finished(assembling(frames, cu_ace, KEYS, E0S, scale))
    # the isolated atom's energy is not its E0 here, and no row of the fit
    for prop, n_rows in (("energy", 9), ("forces", 3 + 9 * 12), ("virial", 9 * 6)):
        assert factors.labelled[prop].n_rows == n_rows
        rows, values = [], []
        for atoms, features in zip(frames, cu_ace.compute(frames, derivatives=True), strict=True):
            labels = fitted_targets(atoms, KEYS, E0S)
            value = property_targets(labels, prop, composition_energy(atoms, E0S))
            if value is not None:
                weight = 1.0 if prop == "forces" else len(atoms) ** -0.5
                rows.append(property_rows(features, prop) * weight * scale)
                values.append(value * weight)
        dense = np.column_stack([np.concatenate(rows), np.concatenate(values)])
        triangle = factors.labelled[prop].triangle
        assert_close(triangle.T @ triangle, dense.T @ dense, 1e-12)


def test_chunks_together_give_the_whole(cu_ace, monkeypatch):
    """The rows of the parts in their order, whatever is labelled in them."""
    monkeypatch.setattr(design, "BATCH_ATOMS", 5)
    monkeypatch.setattr(design, "CHUNK_ATOMS", 13)
    monkeypatch.setattr(row_factors, "BATCH_ROWS", 20)
    frames = [*copper_training(), copper(3), Atoms("Cu")]
    parts = chunks(frames)
    assert [(part.start, part.stop) for part in parts] == [(0, 4), (4, 8), (8, 12)]
    scale = cu_ace.prior_std()
    whole = finished(assembling(frames, cu_ace, KEYS, E0S, scale))
    first, *others = (
        finished(assembling(frames[part], cu_ace, KEYS, E0S, scale, first=part.start))
        for part in parts
    )
    for other in others:
        first.absorb(pickle.loads(pickle.dumps(other)))
    for kind in ("labelled", "unlabelled"):
        for prop, factor in getattr(whole, kind).items():
            ours = getattr(first, kind)[prop]
            assert ours.n_rows == factor.n_rows
            assert_close(
                ours.triangle.T @ ours.triangle, factor.triangle.T @ factor.triangle, 1e-12
            )


def test_errors_in_a_chunk_name_the_frame(cu_ace):
    wrong = emt_labelled(copper(0))
    wrong.info["energy"] = "low"
    with pytest.raises(StructureError, match="training frame 7"):
        finished(assembling([copper(1), wrong], cu_ace, KEYS, E0S, cu_ace.prior_std(), first=6))


def test_frames_with_no_or_some_labels(cu_ace):
    labelled, partly, bare = (emt_labelled(copper(k)) for k in range(3))
    del partly.arrays["forces"], partly.info["virial"]
    bare = Atoms(bare.numbers, bare.positions, cell=bare.cell, pbc=True)
    frames = [labelled, partly, bare, Atoms("Cu")]
    factors = finished(assembling(frames, cu_ace, KEYS, E0S, cu_ace.prior_std()))
    counts = [
        {prop: factor.n_rows for prop, factor in kind.items()}
        for kind in (factors.labelled, factors.unlabelled)
    ]
    assert counts[0] == {"energy": 2, "forces": 12, "virial": 6}
    assert counts[1] == {"energy": 2, "forces": 15, "virial": 6}


def test_unused_properties_are_left_out(cu_ace):
    keys = PropertyKeys("energy", None, None)
    factors = finished(assembling(copper_training(), cu_ace, keys, E0S, cu_ace.prior_std()))
    assert set(factors.labelled) == {"energy"}
