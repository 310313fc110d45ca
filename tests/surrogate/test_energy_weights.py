"""Weights that fall with a structure's energy, in the fit and in the covariance."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from helpers.structures import copper, copper_training
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import Surrogate, Weights, fit_surrogate
from ase_bayesel.errors import StructureError
from ase_bayesel.structures import targets
from ase_bayesel.structures.labels import PropertyKeys
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.design import usable_properties, weighted_rows
from ase_bayesel.surrogate.energy_weights import (
    EnergyWeights,
    composition_of,
    force_growth,
    frame_weight,
    largest_force,
)
from ase_bayesel.surrogate.fitting import energy_weights_of
from ase_bayesel.surrogate.steps import finished

SCALE = 0.1


@pytest.fixture(scope="module")
def weighted(cu_ace) -> Surrogate:
    return fit_surrogate(
        copper_training(), cu_ace, virial_key="virial", weights=Weights(high_energy=SCALE)
    )


def dense(frames, descriptor, surrogate, keys):
    """Posterior mean by normal equations of all rows, weighted one by one."""
    blocks, values = [], []
    for atoms in frames:
        labels = targets(atoms, keys)
        baseline = surrogate.baseline(atoms)
        growth = surrogate.energy_weights.factor(atoms, labels.energy - baseline)
        features = descriptor.compute([atoms], derivatives=True)[0]
        properties = [
            p
            for p in usable_properties(atoms, ("energy", "forces", "virial"))
            if getattr(labels, p) is not None
        ]
        blocks.append(weighted_rows(features, surrogate.noise, properties) / growth)
        observed = {
            "energy": np.array([labels.energy - baseline]),
            "forces": None if labels.forces is None else labels.forces.reshape(-1),
            "virial": labels.virial,
        }
        values += [observed[p] / surrogate.noise.std(p, len(atoms)) / growth for p in properties]
    return np.concatenate(blocks), np.concatenate(values)


def test_the_fit_is_the_weighted_least_squares_problem(weighted, cu_ace):
    keys = PropertyKeys("energy", "forces", "virial")
    rows, values = dense(copper_training(), cu_ace, weighted, keys)
    factor = weighted.posterior.precision_factor
    precision = factor.T @ factor
    # what the prior adds is diagonal in the descriptor's own scale
    prior = np.diag(np.diag(precision - rows.T @ rows))
    off = precision - rows.T @ rows - prior
    assert np.abs(off).max() < 1e-8 * np.abs(precision).max()
    np.testing.assert_allclose(
        precision @ weighted.posterior.mean,
        rows.T @ values,
        rtol=1e-6,
        atol=1e-6 * np.abs(rows.T @ values).max(),
    )


def test_no_weights_are_those_of_an_endless_scale(cu_ace):
    frames = copper_training()
    plain = fit_surrogate(frames, cu_ace)
    endless = fit_surrogate(frames, cu_ace, weights=Weights(high_energy=1e9))
    np.testing.assert_allclose(endless.posterior.mean, plain.posterior.mean, rtol=1e-5, atol=1e-8)
    assert plain.energy_weights is None


def test_a_pick_enters_the_covariance_as_it_will_enter_the_fit(weighted):
    atoms = copper(5, 0.3)
    low = weighted.baseline(atoms) + len(atoms) * weighted.energy_weights.lowest.get(
        composition_of(atoms), 0.0
    )
    known = replace(
        weighted,
        energy_weights=weighted.energy_weights.extended([(atoms, low - weighted.baseline(atoms))]),
    )
    at_bottom = known.condition(atoms, energies=[low])
    high = known.condition(atoms, energies=[low + SCALE * len(atoms)])
    plain = replace(known, energy_weights=None).condition(atoms)
    assert at_bottom.posterior.logdet == pytest.approx(plain.posterior.logdet, rel=1e-12)
    # at dE = s the deviation is four times as large
    rows = known.rows(atoms) / 4.0
    assert high.posterior.logdet == pytest.approx(known.posterior.condition(rows).logdet)
    assert known.posterior.logdet < high.posterior.logdet < at_bottom.posterior.logdet


def test_a_label_is_said_to_add_what_it_will_add(weighted):
    atoms = copper(5, 0.3)
    energy = weighted.energy(atoms) + 3.0
    known = replace(
        weighted,
        energy_weights=weighted.energy_weights.extended([(atoms, energy - 3.0)]),
    )
    gain = known.information_gain(atoms, energy)
    after = known.condition(atoms, energies=[energy])
    assert gain == pytest.approx(after.posterior.logdet - known.posterior.logdet)
    assert gain < known.information_gain(atoms, energy - 3.0)


def test_without_an_energy_the_mean_predicts_it(weighted):
    atoms = copper(5, 0.3)
    told = weighted.condition(atoms, energies=[weighted.energy(atoms)])
    predicted = weighted.condition(atoms).posterior.logdet
    assert predicted == pytest.approx(told.posterior.logdet, rel=1e-12)


@given(rises=st.lists(st.floats(0.0, 5.0), min_size=2, max_size=6))
def test_factors_grow_from_one_with_the_energy(rises):
    weights = EnergyWeights(SCALE).extended((bulk("Si"), 2 * rise) for rise in rises)
    factors = [weights.factor(bulk("Si"), 2 * rise) for rise in sorted(rises)]
    assert factors[0] == 1.0
    assert factors == sorted(factors)
    expected = (1.0 + (max(rises) - min(rises)) / SCALE) ** 2
    assert factors[-1] == pytest.approx(expected)


def test_compositions_are_compared_with_themselves():
    crystal, slab = bulk("Si"), bulk("Si")
    slab.pbc = (True, True, False)
    weights = EnergyWeights(SCALE).extended([(crystal, -10.0), (slab, -8.0), (bulk("Ge"), -7.0)])
    assert weights.factor(slab, -8.0) == 1.0
    assert weights.factor(bulk("Ge"), -7.0) == 1.0
    assert weights.factor(crystal, -9.8) == pytest.approx(4.0)
    assert weights.factor(bulk("Sn"), 100.0) == 1.0


def test_isolated_atoms_and_dimers_stand_apart():
    atom, dimer = Atoms("Si"), Atoms("Si2", [[0, 0, 0], [0, 0, 1.0]])
    weights = EnergyWeights(SCALE).extended([(atom, 0.0), (dimer, 10.0), (dimer, -3.0)])
    assert weights.lowest == {}
    assert weights.factor(dimer, 10.0) == 1.0


def test_weights_are_saved_with_the_surrogate(weighted, tmp_path):
    weighted.save(tmp_path / "model.npz")
    assert Surrogate.load(tmp_path / "model.npz").energy_weights == weighted.energy_weights


def test_weights_of_a_file_divide_the_noise(cu_ace):
    frames = copper_training()
    for atoms in frames:
        atoms.info["config_weight"] = 4.0
    twice = [replace_weight(atoms, 1.0) for atoms in frames]
    heavy, plain = fit_surrogate(frames, cu_ace), fit_surrogate(twice, cu_ace)
    # all alike: the noise is larger by the root of the weight, and nothing else changes
    assert heavy.noise.forces == pytest.approx(2.0 * plain.noise.forces, rel=1e-3)
    np.testing.assert_allclose(heavy.posterior.mean, plain.posterior.mean, rtol=1e-3, atol=1e-6)


def reduced(frames, descriptor, max_force=None):
    """R^T R of the rows with labels and of those without, by property."""
    e0s, scale = {"Cu": 0.0}, np.ones(descriptor.n_features)
    keys = PropertyKeys("energy", "forces", "virial")
    factors = finished(assembling(frames, descriptor, keys, e0s, scale, max_force=max_force))
    return [
        {prop: factor.triangle.T @ factor.triangle for prop, factor in kind.items()}
        for kind in (factors.labelled, factors.unlabelled)
    ]


def test_extreme_forces_count_less_and_the_covariance_knows_them_in_full(cu_ace):
    frames = copper_training()
    limit = 0.5 * max(largest_force(targets(atoms, PropertyKeys()).forces) for atoms in frames)
    light, rest = reduced(frames, cu_ace, limit)
    plain, nothing = reduced(frames, cu_ace)
    weighted = []
    for atoms in frames:
        growth = force_growth(targets(atoms, PropertyKeys()).forces, limit)
        weighted.append(replace_weight(atoms, growth**-2))
    by_file, _ = reduced(weighted, cu_ace)
    assert any(atoms.info["config_weight"] < 1.0 for atoms in weighted)
    for prop in ("energy", "forces", "virial"):
        size = np.abs(plain[prop]).max()
        np.testing.assert_allclose(light[prop], by_file[prop], rtol=0, atol=1e-10 * size)
        both = (light[prop] + rest[prop] - plain[prop] - nothing[prop])[:-1, :-1]
        np.testing.assert_allclose(both, 0.0, atol=1e-10 * size)
        assert np.abs(light[prop] - plain[prop]).max() > 1e-3 * size


def test_noise_grows_smoothly_from_the_limit_on():
    forces = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    assert [force_growth(forces, limit) for limit in (9.0, 5.0, 2.5)] == [1.0, 1.0, 4.0]
    assert force_growth(forces, 5.0 - 1e-9) == pytest.approx(1.0, abs=1e-8)
    assert force_growth(forces, None) == force_growth(None, 1.0) == 1.0
    assert force_growth(np.zeros((0, 3)), 1.0) == 1.0


def replace_weight(atoms, weight):
    changed = atoms.copy()
    changed.calc = atoms.calc
    changed.info["config_weight"] = weight
    return changed


def test_a_weight_of_zero_leaves_a_property_out(cu_ace):
    frames = copper_training()
    without = [replace_weight(atoms, 1.0) for atoms in frames]
    for atoms in frames:
        atoms.info["config_forces_weight"] = 0.0
    energies = fit_surrogate(frames, cu_ace)
    assert np.allclose(
        energies.posterior.mean, fit_surrogate(without, cu_ace, forces_key=None).posterior.mean
    )


@pytest.mark.parametrize("wrong", ["much", -1.0, np.nan, [1.0, 2.0]])
def test_a_wrong_weight_is_named(wrong):
    atoms = molecule("H2O")
    atoms.info["config_weight"] = wrong
    with pytest.raises(StructureError, match="frame 3: 'config_weight'"):
        frame_weight(atoms, "energy", "frame 3")


def test_a_scale_must_be_positive():
    with pytest.raises(ValueError, match="high_energy"):
        EnergyWeights(0.0)


def test_the_automatic_scale_follows_the_temperature(cu_ace):
    automatic = Weights(energy=10.0, high_energy="auto")
    at = automatic.at(1000.0)
    assert at == Weights(energy=10.0, high_energy=pytest.approx(1.5 * units.kB * 1000.0))
    assert at.at(300.0) == at
    assert Weights().at(1000.0) == Weights()
    with pytest.raises(ValueError, match=r"auto needs a temperature; see Weights\.at"):
        fit_surrogate(copper_training(), cu_ace, weights=automatic)
    fitted = fit_surrogate(copper_training(), cu_ace, weights=at)
    assert fitted.energy_weights.scale == at.high_energy


def test_the_automatic_scale_is_at_least_the_median_rise():
    """Else a fit would rest on the few lowest structures of a set that lies higher."""
    frames = [copper(seed, 0.02 + 0.04 * seed) for seed in range(5)]
    for k, atoms in enumerate(frames):
        atoms.info["energy"] = 4.0 * [0.0, 0.1, 0.3, 0.5, 2.0][k]
    automatic, keys = Weights(high_energy="auto"), PropertyKeys("energy", None)
    cold = energy_weights_of(frames, keys, {"Cu": 0.0}, automatic, 300.0)
    assert cold.scale == pytest.approx(0.3)
    hot = energy_weights_of(frames, keys, {"Cu": 0.0}, automatic, 1e4)
    assert hot.scale == pytest.approx(1.5 * units.kB * 1e4)
    given = energy_weights_of(frames, keys, {"Cu": 0.0}, Weights(high_energy=0.05), 300.0)
    assert given.scale == 0.05
    whole = energy_weights_of(frames, keys, {"Cu": 0.0}, Weights(high_energy=1))
    assert whole.scale == 1
    # rows in effect: 13 / (1 + rise / 0.3)^4 of each
    assert energy_weights_of(frames, keys, {"Cu": 0.0}, automatic, 300.0, 9) is not None
    assert energy_weights_of(frames, keys, {"Cu": 0.0}, automatic, 300.0, 12) is None
