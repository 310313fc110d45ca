import io
import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from helpers.differences import assert_close
from helpers.structures import alloy, cluster, copper, copper_training, emt_labelled

from ase_bayesel import ACEDescriptor, Posterior, Surrogate, Weights, fit_surrogate
from ase_bayesel.errors import PosteriorError, StructureError
from ase_bayesel.structures.frames import read_frames
from ase_bayesel.structures.labels import PropertyKeys, targets
from ase_bayesel.structures.reference_energies import composition_energy
from ase_bayesel.surrogate.design import Noise, property_rows, property_targets
from ase_bayesel.validation.comparison import compare

KEYS = PropertyKeys("energy", "forces", "virial")


def weighted_observations(surrogate, frames, keys):
    """All rows and targets, divided by their noise, straight from the definitions."""
    rows, values = [], []
    for atoms in frames:
        features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
        labels = targets(atoms, keys)
        for prop in ("energy", "forces", "virial"):
            value = property_targets(labels, prop, composition_energy(atoms, surrogate.e0s))
            if value is not None:
                std = surrogate.noise.std(prop, len(atoms))
                rows.append(property_rows(features, prop) / std)
                values.append(value / std)
    return np.concatenate(rows), np.concatenate(values)


def unlabelled(atoms):
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def predictions(surrogate, atoms):
    atoms = atoms.copy()
    atoms.calc = surrogate.calculator()
    return atoms.get_potential_energy(), atoms.get_forces()


# the fit


@pytest.mark.parametrize("weights", [Weights(), Weights(10.0, 2.0, 5.0), None])
def test_fit_against_dense_ridge_regression(cu_ace, weights):
    frames = copper_training()
    surrogate = fit_surrogate(frames, cu_ace, virial_key="virial", weights=weights)
    rows, values = weighted_observations(surrogate, frames, KEYS)
    factor = surrogate.posterior.precision_factor
    prior = factor.T @ factor - rows.T @ rows
    # in whitened coordinates what is not data is the isotropic prior
    whitened = prior * np.outer(cu_ace.prior_std(), cu_ace.prior_std())
    data = rows.T @ rows * np.outer(cu_ace.prior_std(), cu_ace.prior_std())
    prior_precision = np.median(np.diagonal(whitened))
    assert prior_precision > 0
    expected = prior_precision * np.eye(len(prior))
    np.testing.assert_allclose(whitened, expected, atol=1e-10 * np.abs(data).max())
    # the ridge solution as a plain least-squares problem
    ridge = np.diag(np.sqrt(prior_precision) / cu_ace.prior_std())
    stacked = np.concatenate([rows, ridge])
    solution = np.linalg.lstsq(
        stacked * cu_ace.prior_std(),
        np.concatenate([values, np.zeros(len(ridge))]),
        rcond=None,
    )[0]
    assert_close(surrogate.posterior.mean / cu_ace.prior_std(), solution, 1e-4)
    assert_close(rows @ surrogate.posterior.mean, rows * cu_ace.prior_std() @ solution, 1e-8)


def test_fit_describes_the_reference(cu_surrogate):
    parity = compare(cu_surrogate, copper_training(), PropertyKeys("energy", "forces"))
    assert parity.energy_rmse < 0.01
    assert parity.forces_rmse < 0.1
    fresh = [emt_labelled(copper(100 + k)) for k in range(5)]
    assert compare(cu_surrogate, fresh, PropertyKeys("energy", "forces")).energy_rmse < 0.02


def test_weights_fix_the_ratios_of_the_noises(cu_ace):
    noise = fit_surrogate(copper_training(), cu_ace, weights=Weights(30.0, 1.0, 10.0)).noise
    assert noise.forces / noise.energy == pytest.approx(30.0)
    assert noise.forces / noise.virial == pytest.approx(10.0)


def test_without_weights_each_noise_is_recovered():
    """Labels of a linear model with known noise on top."""
    descriptor = ACEDescriptor("Cu", totaldegree=5)
    frames = [copper(k, 0.15, repeat=(1, 1, 2)) for k in range(60)]
    rng = np.random.default_rng(1)
    coefficients = 30 * descriptor.prior_std() * rng.standard_normal(descriptor.n_features)
    for atoms, features in zip(frames, descriptor.compute(frames, derivatives=True), strict=True):
        energy = float(coefficients @ features.total)
        forces = (property_rows(features, "forces") @ coefficients).reshape(-1, 3)
        atoms.info["energy"] = energy + 0.02 * np.sqrt(len(atoms)) * rng.standard_normal()
        atoms.arrays["forces"] = forces + 0.3 * rng.standard_normal(forces.shape)
    noise = fit_surrogate(frames, descriptor, e0s={"Cu": 0.0}, weights=None).noise
    assert noise.energy == pytest.approx(0.02, rel=0.3)
    assert noise.forces == pytest.approx(0.3, rel=0.1)


def test_unlabelled_frames_enter_the_covariance_but_not_the_mean(cu_ace):
    frames = copper_training()
    extra = copper(77, 0.3)
    without = fit_surrogate(frames, cu_ace)
    with_extra = fit_surrogate([*frames, extra], cu_ace)
    np.testing.assert_array_equal(with_extra.posterior.mean, without.posterior.mean)
    assert with_extra.noise == without.noise
    assert with_extra.energy_std(extra) < 0.5 * without.energy_std(extra)
    conditioned = without.condition(extra)
    probe = copper(78, 0.3)
    assert with_extra.energy_std(probe) == pytest.approx(conditioned.energy_std(probe), rel=1e-6)


def test_progress_is_reported(cu_ace):
    seen = []
    fit_surrogate(copper_training(), cu_ace, on_progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (10, 10)


def test_reference_energies_of_the_fit(cu_ace):
    frames = copper_training()
    isolated = fit_surrogate(frames, cu_ace)
    assert isolated.e0s == {"Cu": frames[0].info["energy"]}
    given = fit_surrogate(frames[1:], cu_ace, e0s={"Cu": 1.25})
    assert given.e0s == {"Cu": 1.25}
    average = fit_surrogate(frames[1:], cu_ace, e0s="average")
    mean = np.mean([a.info["energy"] / len(a) for a in frames[1:]])
    assert average.e0s["Cu"] == pytest.approx(mean, abs=1e-9)
    with pytest.raises(StructureError, match="single-atom"):
        fit_surrogate(frames[1:], cu_ace)
    with pytest.raises(StructureError, match="'none'"):
        fit_surrogate(frames, cu_ace, e0s="none")


def test_missing_labels_and_keys(cu_ace):
    bare = [unlabelled(atoms) for atoms in copper_training()]
    with pytest.raises(StructureError, match=r"no training frame has a label .*'energy', 'forces'"):
        fit_surrogate(bare, cu_ace, e0s={"Cu": 0.0})
    with pytest.raises(StructureError, match="dft_energy"):
        fit_surrogate(copper_training(), cu_ace, "dft_energy", "dft_force")
    with pytest.raises(StructureError):
        fit_surrogate([], cu_ace)
    with pytest.raises(StructureError, match="no training frame has a label"):
        fit_surrogate(copper_training(), cu_ace, None, None, None, e0s={"Cu": 0.0})


def test_faulty_training_frames_are_numbered(cu_ace):
    frames = copper_training()
    frames[3].positions[0, 0] = np.nan
    with pytest.raises(StructureError, match="training frame 3: position of atom 0"):
        fit_surrogate(frames, cu_ace)
    frames = copper_training()
    frames[4].arrays["forces"][1, 1] = np.inf
    with pytest.raises(StructureError, match="training frame 4: 'forces' is not finite"):
        fit_surrogate(frames, cu_ace)


def test_forces_alone_are_enough(cu_ace):
    surrogate = fit_surrogate(copper_training(), cu_ace, energy_key=None, e0s={"Cu": 0.0})
    assert surrogate.properties == ("forces",)
    parity = compare(surrogate, copper_training(), PropertyKeys(None, "forces"))
    assert parity.forces_rmse < 0.1
    assert parity.energy_rmse is None


def test_two_elements():
    frames = [emt_labelled(alloy("CuAuAuCu", seed=k)) for k in range(6)]
    frames += [emt_labelled(Atoms(symbol)) for symbol in ("Cu", "Au")]
    surrogate = fit_surrogate(frames, ACEDescriptor(["Cu", "Au"], totaldegree=5))
    parity = compare(surrogate, frames, PropertyKeys("energy", "forces"))
    assert parity.energy_rmse < 0.01
    assert parity.forces_rmse < 0.1
    with pytest.raises(StructureError, match="'Al'"):
        surrogate.baseline(alloy("CuAlAlCu"))


def test_silicon_data(si2018):
    frames = read_frames(si2018 / "core.extxyz")
    chosen = [atoms for k, atoms in enumerate(frames) if len(atoms) == 1 or k % 12 == 0]
    surrogate = fit_surrogate(
        chosen, ACEDescriptor("Si", totaldegree=10), "dft_energy", "dft_force", "dft_virial"
    )
    parity = compare(surrogate, chosen, PropertyKeys("dft_energy", "dft_force"))
    assert surrogate.e0s == {"Si": -158.54496821}
    assert parity.energy_rmse < 0.02
    assert parity.forces_rmse < 0.3


# conditioning


def test_condition_equals_conditioning_on_the_rows(cu_surrogate):
    first, second = copper(50, 0.2), copper(51, 0.3, repeat=(1, 1, 2))
    rows = np.concatenate([cu_surrogate.rows(first), cu_surrogate.rows(second)])
    expected = cu_surrogate.posterior.condition(rows)
    for conditioned in (
        cu_surrogate.condition([first, second]),
        cu_surrogate.condition(first).condition(second),
    ):
        probe = np.random.default_rng(0).normal(size=(20, cu_surrogate.posterior.n_features))
        np.testing.assert_allclose(
            conditioned.posterior.variance(probe), expected.variance(probe), rtol=1e-8
        )
        np.testing.assert_array_equal(conditioned.posterior.mean, cu_surrogate.posterior.mean)
        assert conditioned.noise == cu_surrogate.noise


def test_condition_adds_the_rows_that_a_label_will_hold(cu_surrogate):
    assert cu_surrogate.properties == ("energy", "forces", "virial")
    assert cu_surrogate.rows(copper()).shape[0] == 1 + 12 + 6
    assert cu_surrogate.rows(cluster("Cu3")).shape[0] == 1 + 9
    atoms = copper(9, 0.3)
    features = cu_surrogate.descriptor.compute([atoms], derivatives=True)[0]
    np.testing.assert_allclose(cu_surrogate.rows(atoms, features), cu_surrogate.rows(atoms))


def test_conditioned_structure_is_no_longer_uncertain(cu_surrogate):
    atoms = copper(60, 0.35)
    before = cu_surrogate.uncertainty(atoms)
    after = cu_surrogate.condition(atoms).uncertainty(atoms)
    assert after.energy < before.energy
    assert (after.forces < before.forces).all()
    assert after.energy <= cu_surrogate.noise.std("energy", len(atoms))


# uncertainty


@pytest.mark.parametrize("atoms", [copper(5, 0.3), cluster("Cu5")], ids=["bulk", "cluster"])
def test_uncertainty_against_a_committee(cu_surrogate, atoms):
    members = cu_surrogate.posterior.sample(10_000, np.random.default_rng(2))
    features = cu_surrogate.descriptor.compute([atoms], derivatives=True)[0]
    expected = cu_surrogate.uncertainty(atoms)
    energy = (members @ features.total).std()
    forces = (members @ property_rows(features, "forces").T).reshape(len(members), -1, 3)
    lengths = np.sqrt(forces.var(axis=0).sum(axis=1))
    assert expected.energy == pytest.approx(energy, rel=0.03)
    assert cu_surrogate.energy_std(atoms) == pytest.approx(expected.energy, rel=1e-10)
    np.testing.assert_allclose(expected.forces, lengths, rtol=0.03)
    if atoms.pbc.all():
        stress = (members @ features.strain).std(axis=0) / atoms.get_volume()
        np.testing.assert_allclose(expected.stress, stress, rtol=0.03)
    else:
        assert expected.stress is None


def test_uncertainty_grows_away_from_the_data(cu_surrogate):
    per_atom = [cu_surrogate.energy_std(copper(3, std)) / 4 for std in (0.05, 0.3, 0.6)]
    assert per_atom[0] < per_atom[1] < per_atom[2]


def test_isolated_atom_is_certain(cu_surrogate):
    uncertainty = cu_surrogate.uncertainty(Atoms("Cu"))
    assert uncertainty.energy == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(uncertainty.forces, 0.0, atol=1e-12)
    assert cu_surrogate.energy(Atoms("Cu")) == pytest.approx(cu_surrogate.e0s["Cu"], abs=1e-12)


# the calculator of the mean


@pytest.mark.parametrize("atoms", [copper(5, 0.2), cluster("Cu5")], ids=["bulk", "cluster"])
def test_forces_and_stress_of_the_mean_against_differences(cu_surrogate, atoms):
    atoms = atoms.copy()
    atoms.calc = cu_surrogate.calculator()
    assert atoms.get_potential_energy() == pytest.approx(cu_surrogate.energy(atoms), rel=1e-12)
    assert_close(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), 1e-6)
    if atoms.pbc.all():
        assert_close(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), 1e-5)
    else:
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_stress()


def test_labels_are_in_the_model_s_own_conventions(cu_surrogate):
    """The fitted virial has the sign and order of EMT's stress."""
    atoms = copper(2, 0.12, 3.5)
    reference = targets(emt_labelled(atoms), KEYS).virial
    atoms.calc = cu_surrogate.calculator()
    assert_close(-atoms.get_volume() * atoms.get_stress(), reference, 0.1)


# construction, saving


def test_posterior_of_another_width(cu_ace):
    with pytest.raises(PosteriorError, match="3 coefficients"):
        Surrogate(cu_ace, Posterior.isotropic(3, 1.0), {"Cu": 0.0}, Noise())


def test_saved_and_loaded_predicts_the_same_bits(cu_surrogate, tmp_path):
    atoms = copper(8, 0.2)
    for name in ("surrogate.npz", "surrogate"):
        cu_surrogate.save(tmp_path / name)
        again = Surrogate.load(tmp_path / name)
        assert again.energy(atoms) == cu_surrogate.energy(atoms)
        assert again.energy_std(atoms) == cu_surrogate.energy_std(atoms)
        for ours, theirs in zip(
            predictions(again, atoms), predictions(cu_surrogate, atoms), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        assert (again.noise, again.e0s) == (cu_surrogate.noise, cu_surrogate.e0s)
        assert again.properties == cu_surrogate.properties
        np.testing.assert_array_equal(
            again.condition(atoms).posterior.precision_factor,
            cu_surrogate.condition(atoms).posterior.precision_factor,
        )


def test_saved_to_a_buffer(cu_surrogate, tmp_path):
    buffer = io.BytesIO()
    cu_surrogate.save(buffer)
    (tmp_path / "surrogate.npz").write_bytes(buffer.getvalue())
    assert Surrogate.load(tmp_path / "surrogate.npz").e0s == cu_surrogate.e0s


def test_damaged_files(cu_surrogate, tmp_path):
    path = tmp_path / "surrogate.npz"
    with pytest.raises(PosteriorError, match=r"surrogate\.npz"):
        Surrogate.load(path)
    cu_surrogate.save(path)
    content = path.read_bytes()
    for damaged in (b"", b"nonsense", content[: len(content) // 2], content[:-10]):
        path.write_bytes(damaged)
        with pytest.raises(PosteriorError, match=r"surrogate\.npz"):
            Surrogate.load(path)


def test_files_of_something_else(cu_surrogate, tmp_path):
    path = tmp_path / "other.npz"
    cu_surrogate.posterior.save(path)
    with pytest.raises(PosteriorError, match=r"other\.npz"):
        Surrogate.load(path)
    np.savez(path, meta=json.dumps({"format": "other/1"}), posterior=np.zeros(3, np.uint8))
    with pytest.raises(PosteriorError, match="not a surrogate"):
        Surrogate.load(path)
