"""Force errors of left-out structures over their deviations, against fits without them."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.structures import copper, copper_training

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    ForceTrigger,
    RelativeForceTrigger,
    Surrogate,
    Weights,
    fit_surrogate,
)
from ase_bayesel.structures.labels import PropertyKeys, targets
from ase_bayesel.surrogate.design import property_targets, row_scales, weighted_rows
from ase_bayesel.surrogate.leave_one_out import MOST, fitting_force_scale
from ase_bayesel.surrogate.steps import finished

KEYS = PropertyKeys("energy", "forces")


@pytest.fixture(scope="module", params=[None, 0.05], ids=["plain", "energy weights"])
def fitted(request):
    frames = copper_training()[:6]
    descriptor = ACEDescriptor("Cu", totaldegree=6)
    return frames, fit_surrogate(frames, descriptor, weights=Weights(high_energy=request.param))


def weighted(atoms, surrogate):
    """All weighted rows and observations of a structure, and which are of forces."""
    labels, baseline = targets(atoms, KEYS), surrogate.baseline(atoms)
    known = surrogate.properties, baseline, surrogate.energy_weights
    features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
    rows, values, forces = [], [], []
    for prop, scale in row_scales(atoms, labels, *known).items():
        rows.append(scale * weighted_rows(features, surrogate.noise, [prop]))
        observed = property_targets(labels, prop, baseline)
        values.append(observed * scale / surrogate.noise.std(prop, len(atoms)))
        forces += [prop == "forces"] * len(observed)
    return np.concatenate(rows), np.concatenate(values), np.array(forces)


def test_the_scale_is_that_of_fits_without_each_structure(fitted):
    frames, surrogate = fitted
    factor = surrogate.posterior.precision_factor
    precision, mean = factor.T @ factor, surrogate.posterior.mean
    ratios = []
    for atoms in frames:
        rows, values, forces = weighted(atoms, surrogate)
        if not forces.any() or len(atoms) == 1:  # its forces vanish by symmetry
            continue
        without = precision - rows.T @ rows
        mean_without = np.linalg.solve(without, precision @ mean - rows.T @ values)
        errors = (values - rows @ mean_without)[forces]
        variances = np.einsum("ij,ji->i", rows, np.linalg.solve(without, rows.T))[forces]
        ratios.append(np.sqrt(np.sum(errors**2) / np.sum(variances)))
    found = finished(fitting_force_scale(frames, surrogate, KEYS))
    assert found == pytest.approx(max(1.0, np.median(ratios)), rel=1e-3)


def test_a_large_set_is_sampled_and_counted_to_its_end(fitted):
    frames, surrogate = fitted
    many = (frames * 40)[: 2 * MOST + 1]
    done = list(fitting_force_scale(many, surrogate, KEYS))
    assert len(done) <= MOST
    assert done[-1] == len(many)
    assert done == sorted(done)


def test_without_forces_nothing_is_known(fitted):
    frames, surrogate = fitted
    bare = [atoms.copy() for atoms in frames]
    for atoms in bare:
        atoms.arrays.pop("forces", None)
    assert finished(fitting_force_scale(bare, surrogate, KEYS)) == 1.0


def test_it_is_saved_with_the_surrogate(fitted, tmp_path):
    surrogate = replace(fitted[1], force_scale=3.25)
    surrogate.save(tmp_path / "model.npz")
    assert Surrogate.load(tmp_path / "model.npz").force_scale == 3.25


@pytest.mark.parametrize("kind", [RelativeForceTrigger, ForceTrigger])
def test_a_calibrated_trigger_counts_in_units_of_errors(fitted, kind):
    surrogate, atoms = replace(fitted[1], force_scale=4.0), copper(7, 0.1)
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau=0.5)
    calculator.get_forces(atoms)
    raw = kind(0.1)(calculator.prediction, atoms)
    calibrated = kind(0.1, calibrated=True)(calculator.prediction, atoms)
    assert calibrated.value == pytest.approx(4.0 * raw.value, rel=1e-9)
    assert calibrated.atom_index == raw.atom_index
