"""Left-out and held-out structures against fits without them, and the scales that they give."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from helpers.calculators import Stiffer
from helpers.structures import copper, copper_training
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve_triangular
from scipy.special import ndtr

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    ForceTrigger,
    RelativeForceTrigger,
    Surrogate,
    Weights,
    calibrated,
    fit_surrogate,
)
from ase_bayesel.structures.labels import PropertyKeys, targets
from ase_bayesel.surrogate.calibration import calibrating
from ase_bayesel.surrogate.design import (
    property_rows,
    property_targets,
    row_scales,
    weighted_rows,
)
from ase_bayesel.surrogate.held_out import MOST, given_labels, held_out, leaving_out
from ase_bayesel.surrogate.posterior import Posterior
from ase_bayesel.surrogate.scales import LEVELS, HeldOut, Scale, Scales
from ase_bayesel.surrogate.steps import finished

KEYS = PropertyKeys("energy", "forces")


@pytest.fixture(scope="module", params=[None, 0.05], ids=["plain", "energy weights"])
def fitted(request):
    frames = copper_training()[:6]
    descriptor = ACEDescriptor("Cu", totaldegree=6)
    return frames, fit_surrogate(frames, descriptor, weights=Weights(high_energy=request.param))


def system(surrogate, frames):
    """All weighted rows of structures, and their observations."""
    rows, observed = [], []
    for atoms in frames:
        labels, baseline = targets(atoms, KEYS), surrogate.baseline(atoms)
        features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
        known = surrogate.properties, baseline, surrogate.energy_weights
        for prop, scale in row_scales(atoms, labels, *known).items():
            rows.append(scale * weighted_rows(features, surrogate.noise, [prop]))
            std = surrogate.noise.std(prop, len(atoms))
            observed.append(property_targets(labels, prop, baseline) * scale / std)
    return np.concatenate(rows), np.concatenate(observed)


PRIOR_STD = 0.3


def brute_force(surrogate, frames):
    """The same fit to these frames alone, by one least-squares solution."""
    prior = np.diag(1.0 / (PRIOR_STD * surrogate.descriptor.prior_std()))
    rows, observed = system(surrogate, frames)
    weights = np.linalg.qr(
        np.column_stack([np.vstack([prior, rows]), [*np.zeros(len(prior)), *observed]]), mode="r"
    )
    factor, mean = weights[:-1, :-1], solve_triangular(weights[:-1, :-1], weights[:-1, -1])
    signs = np.where(np.diagonal(factor) < 0, -1.0, 1.0)
    return replace(surrogate, posterior=Posterior(factor * signs[:, None], mean))


GROUPS = {"each": [[k] for k in range(6)], "pairs": [[0, 3], [1, 5], [2, 4]]}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_in_closed_form_as_by_fits_without_each_group(fitted, groups):
    frames, surrogate = fitted
    surrogate = brute_force(surrogate, frames)
    found = finished(leaving_out(frames, surrogate, KEYS, groups=groups))
    expected = {"energy": ([], []), "forces": ([], [])}
    for group in groups:
        others = brute_force(surrogate, [frames[k] for k in range(6) if k not in group])
        for k in group:
            if len(frames[k]) == 1:
                continue  # nothing can be learnt of it: its rows vanish
            features = surrogate.descriptor.compute([frames[k]], derivatives=True)[0]
            for prop, (errors, deviations) in expected.items():
                rows = property_rows(features, prop)
                observed = property_targets(
                    targets(frames[k], KEYS), prop, surrogate.baseline(frames[k])
                )
                errors.extend(rows @ others.posterior.mean - observed)
                deviations.extend(np.sqrt(others.posterior.variance(rows)))
    for prop, (errors, deviations) in expected.items():
        assert found[prop].errors == pytest.approx(np.array(errors), rel=1e-8, abs=1e-8)
        assert found[prop].deviations == pytest.approx(np.array(deviations), rel=1e-8, abs=1e-8)


def test_labels_move_the_mean_as_a_fit_does(fitted):
    frames, surrogate = fitted
    again = given_labels(brute_force(surrogate, frames[:-1]), frames[-1], KEYS)
    whole = brute_force(surrogate, frames)
    energies = [again.energy(atoms) for atoms in frames]
    assert energies == pytest.approx([whole.energy(atoms) for atoms in frames], abs=1e-9)
    assert again.posterior.logdet == pytest.approx(whole.posterior.logdet, rel=1e-10)


def test_held_out_errors_are_those_of_the_potential(fitted):
    frames, surrogate = fitted
    atoms = [frame for frame in frames if len(frame) > 1]
    mean = held_out(surrogate, atoms, KEYS)
    same = held_out(surrogate, atoms, KEYS, surrogate.calculator())
    for prop, rows in mean.items():
        assert same[prop].errors == pytest.approx(rows.errors, abs=1e-9)
        assert (same[prop].deviations == rows.deviations).all()
    assert mean["energy"].deviations[0] == pytest.approx(surrogate.energy_std(atoms[0]))
    by_atom = np.sqrt(
        np.square(mean["forces"].deviations[: 3 * len(atoms[0])]).reshape(-1, 3).sum(1)
    )
    assert by_atom == pytest.approx(surrogate.uncertainty(atoms[0]).forces)


def test_a_potential_that_knows_none_of_them_errs_as_it_does(fitted):
    frames, surrogate = fitted
    own = finished(leaving_out(frames, surrogate, KEYS))
    theirs = finished(leaving_out(frames, surrogate, KEYS, potential=Stiffer()))
    for prop, rows in own.items():
        assert (theirs[prop].deviations == rows.deviations).all()
    labels = [atoms.arrays["forces"].ravel() for atoms in frames if len(atoms) > 1]
    assert theirs["forces"].errors == pytest.approx(0.1 * np.concatenate(labels), abs=1e-10)


def test_a_network_that_errs_more_has_larger_scales(fitted):
    frames, surrogate = fitted
    seen = finished(calibrating(surrogate, frames, KEYS, potential=Stiffer()))
    assert seen.scales == calibrated(surrogate, frames).scales
    unseen = finished(calibrating(surrogate, frames, KEYS, potential=Stiffer(), unseen=[1, 3, 4]))
    assert unseen.scales.forces.value > 2 * seen.scales.forces.value
    assert unseen.scales.forces.n_structures == 3
    assert unseen.scales.campaign_forces == unseen.scales.forces


def test_a_network_that_errs_less_keeps_its_own_scale_of_forces_but_in_campaigns(fitted):
    frames, surrogate = fitted
    linear = calibrated(surrogate, frames)
    right = finished(calibrating(surrogate, frames, KEYS, potential=EMT(), unseen=[1, 3, 4]))
    assert right.scales.forces.value == 1.0 < linear.scales.forces.value
    assert right.scales.in_campaign == linear.scales
    few = finished(calibrating(surrogate, frames, KEYS, potential=EMT(), unseen=[1, 3]))
    assert few.scales == linear.scales
    wrong = finished(calibrating(surrogate, frames, KEYS, potential=Stiffer(), unseen=[1, 3]))
    assert wrong.scales.forces.value > 2 * linear.scales.forces.value
    assert wrong.scales.campaign_forces is None
    assert (linear.support.share, few.support.share, right.support.share) == (0.4, 0.5, 0.5)
    assert (few.support.widens, right.support.widens) == (False, True)


def test_a_large_set_is_sampled_and_counted_to_its_end(fitted):
    frames, surrogate = fitted
    many = (frames * 40)[: 2 * MOST + 1]
    done = list(leaving_out(many, surrogate, KEYS))
    assert len(done) <= MOST
    assert done[-1] == len(many)
    assert done == sorted(done)


def test_without_labels_nothing_is_known(fitted):
    frames, surrogate = fitted
    bare = [atoms.copy() for atoms in frames]
    for atoms in bare:
        atoms.arrays.pop("forces", None)
        atoms.info.pop("energy", None)
    assert Scales.of(finished(leaving_out(bare, surrogate, KEYS))) == Scales()


@given(factor=st.floats(1.0, 50.0), n=st.integers(20, 60))
def test_a_scale_makes_deviations_as_large_as_errors(factor, n):
    rng = np.random.default_rng(n)
    deviations = np.exp(rng.normal(size=(n, 30)))
    errors = factor * deviations * rng.normal(size=(n, 30))
    held = HeldOut(errors.ravel(), deviations.ravel(), np.repeat(np.arange(n), 30))
    scale = Scale.of(held)
    assert abs(scale.value - factor) < 0.1 * factor + 4 * scale.error
    assert scale.n_structures == n
    for level in LEVELS:
        inside = np.mean(np.abs(held.z()) <= scale.half_width(level))
        assert inside == pytest.approx(level, abs=2 / len(held.z()) + 1e-3)


@pytest.mark.parametrize(("n", "width"), [(4, 0.02), (8, 0.02), (18, 0.02), (30, 0.04)])
def test_intervals_of_few_structures_hold_what_they_say(n, width):
    """The largest of eight errors is exceeded by one in nine, not by one in twenty."""
    rng, inside = np.random.default_rng(n), []
    for _ in range(1000):
        scale = Scale.of(HeldOut(rng.normal(size=n), np.ones(n), np.arange(n)))
        inside.append(2 * ndtr([scale.half_width(level) for level in LEVELS]) - 1)
    np.testing.assert_allclose(np.mean(inside, axis=0), LEVELS, atol=width)


def test_one_wild_structure_does_not_make_a_scale():
    held = HeldOut(np.array([*np.ones(20), 1e6]), np.ones(21), np.arange(21))
    assert Scale.of(held).value < 2.0


def test_unknown_levels_are_refused():
    with pytest.raises(ValueError, match=r"level 0\.99: known ones are \(0\.5"):
        Scale().half_width(0.99)


def test_they_are_saved_with_the_surrogate(fitted, tmp_path):
    scales = Scales(Scale(2.5, 0.1, 7, (1.0, 2.0, 3.0, 4.0)), Scale(3.25))
    replace(fitted[1], scales=scales).save(tmp_path / "model.npz")
    assert Surrogate.load(tmp_path / "model.npz").scales == scales


def test_scaled_uncertainties_keep_the_raw_ones(fitted):
    surrogate, atoms = fitted[1], copper(7, 0.1)
    raw = surrogate.uncertainty(atoms)
    scaled = raw.scaled(Scales(Scale(2.0), Scale(3.0), Scale(4.0)))
    assert scaled.energy == 2.0 * raw.energy
    assert scaled.forces == pytest.approx(3.0 * raw.forces)
    assert scaled.stress == pytest.approx(4.0 * raw.stress)


@pytest.mark.parametrize("kind", [RelativeForceTrigger, ForceTrigger])
def test_a_calibrated_trigger_counts_in_units_of_errors(fitted, kind):
    surrogate, atoms = replace(fitted[1], scales=Scales(forces=Scale(4.0))), copper(7, 0.1)
    calculator = BiasedCalculator(surrogate.calculator(), surrogate, tau=0.5)
    calculator.get_forces(atoms)
    raw = kind(0.1)(calculator.prediction, atoms)
    calibrated = kind(0.1, calibrated=True)(calculator.prediction, atoms)
    assert calibrated.value == pytest.approx(4.0 * raw.value, rel=1e-9)
    assert calibrated.atom_index == raw.atom_index
