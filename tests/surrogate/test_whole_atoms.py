"""Cut-outs in fits and beside them: forces of whole atoms are labels, and nothing else of them."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.structures import copper, copper_training, emt_labelled

from ase_bayesel import ACEDescriptor, ForceTrigger, RowStore, fit_surrogate
from ase_bayesel.dynamics.triggers.calibration import training_criteria
from ase_bayesel.errors import StructureError
from ase_bayesel.structures.frames import read_frames, write_frames
from ase_bayesel.structures.identity import canonical, structure_id
from ase_bayesel.structures.labels import WHOLE, PropertyKeys, targets
from ase_bayesel.structures.survey import survey_labels
from ase_bayesel.surrogate.assembly import assembling
from ase_bayesel.surrogate.calibration import calibrated
from ase_bayesel.surrogate.design import property_rows
from ase_bayesel.surrogate.energy_weights import EnergyWeights
from ase_bayesel.surrogate.expectation import Expectation
from ase_bayesel.surrogate.fitting import baseline_energies
from ase_bayesel.surrogate.foresight import outlooks
from ase_bayesel.surrogate.held_out import given_labels, held_out, leaving_out
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.support import Support
from ase_bayesel.validation.comparison import compare

KEYS = PropertyKeys("energy", "forces", "virial")
MASKS = [[True, False, True, False], [False, False, False, True]]


def cut_out(seed, whole):
    """Four atoms, labelled, of which some are whole."""
    atoms = emt_labelled(copper(seed, 0.12))
    atoms.set_array(WHOLE, np.array(whole))
    return atoms


@pytest.fixture(scope="module")
def descriptor():
    return ACEDescriptor(["Cu"], order=2, totaldegree=6, cutoff=4.5)


@pytest.fixture(scope="module")
def cut_outs():
    return [cut_out(50 + k, whole) for k, whole in enumerate(MASKS)]


@pytest.fixture(scope="module")
def frames(cut_outs):
    return [*copper_training(), *cut_outs]


@pytest.fixture(scope="module")
def fitted(frames, descriptor):
    return fit_surrogate(frames, descriptor, virial_key="virial")


def test_targets_of_a_cut_out(cut_outs):
    labels = targets(cut_outs[0], KEYS)
    assert labels.properties == ("forces",)
    np.testing.assert_array_equal(labels.forces, cut_outs[0].arrays["forces"][[0, 2]])


@pytest.mark.parametrize("force_projections", [None, 6])
def test_a_fit_takes_the_rows_of_whole_atoms_alone(frames, cut_outs, descriptor, force_projections):
    """The normal equations of the fit, against those by hand."""
    e0s = baseline_energies(frames, KEYS, "isolated")
    scale = descriptor.prior_std()
    known = finished(
        assembling(frames[:-2], descriptor, KEYS, e0s, scale, force_projections), 8, None
    )
    found = finished(assembling(frames, descriptor, KEYS, e0s, scale, force_projections), 10, None)
    by_hand = gram(known.labelled["forces"])
    for atoms, whole in zip(cut_outs, MASKS, strict=True):
        jacobian = descriptor.compute([atoms], derivatives=True)[0].jacobian
        rows = [
            -jacobian[:, atom, axis] * scale for atom in np.flatnonzero(whole) for axis in range(3)
        ]
        values = atoms.arrays["forces"][whole].ravel()
        both = np.column_stack([np.array(rows), values])
        by_hand += both.T @ both
    largest = np.abs(by_hand).max()
    np.testing.assert_allclose(
        gram(found.labelled["forces"]), by_hand, rtol=0, atol=1e-10 * largest
    )
    assert found.labelled["forces"].n_rows == known.labelled["forces"].n_rows + 9
    for prop in ("energy", "virial"):
        np.testing.assert_array_equal(gram(found.labelled[prop]), gram(known.labelled[prop]))


def gram(factor):
    return factor.triangle.T @ factor.triangle


def test_masked_labels_do_not_matter(frames, fitted, descriptor):
    """Not if they are absurd or missing, and not with a store of rows either."""
    poisoned = [atoms.copy() for atoms in frames]
    for atoms in poisoned[-2:]:
        atoms.info["energy"] = 1e6
        atoms.info.pop("virial")
        atoms.arrays["forces"][~atoms.arrays[WHOLE]] = np.nan
    for store in (None, RowStore()):
        again = fit_surrogate(poisoned, descriptor, virial_key="virial", store=store)
        np.testing.assert_array_equal(again.posterior.mean, fitted.posterior.mean)
        assert again.noise == fitted.noise


def test_conditioning_takes_the_same_rows(fitted, cut_outs, descriptor):
    atoms = canonical(cut_outs[0])
    jacobian = descriptor.compute([atoms], derivatives=True)[0].jacobian
    rows = -jacobian[:, [0, 2]].transpose(1, 2, 0).reshape(6, -1) / fitted.noise.forces
    np.testing.assert_array_equal(fitted.rows(atoms), rows)
    weighted = replace(fitted, energy_weights=EnergyWeights(1e-3, {"Cu4 xyz": -1e3}))
    for surrogate in (fitted, weighted):  # its energy means nothing
        knows = surrogate.condition(atoms, energies=[0.0])
        expected = fitted.posterior.condition(rows)
        np.testing.assert_allclose(
            knows.posterior.variance(rows), expected.variance(rows), rtol=1e-12
        )
    assert replace(fitted, properties=("energy",)).rows(atoms).shape == (0, descriptor.n_features)


def test_what_is_compared_with_labels(fitted, cut_outs, frames):
    found = held_out(fitted, cut_outs, KEYS)
    assert found.keys() == {"forces"}
    assert len(found["forces"].errors) == 9
    predicted = held_out(fitted, cut_outs, KEYS, fitted.calculator())
    np.testing.assert_allclose(predicted["forces"].errors, found["forces"].errors, atol=1e-10)
    whole = np.concatenate([atoms.arrays["forces"][atoms.arrays[WHOLE]] for atoms in cut_outs])
    parity = compare(fitted, cut_outs, KEYS)
    assert parity.energy_rmse is None
    np.testing.assert_array_equal(parity.forces, whole.ravel())
    np.testing.assert_allclose(
        parity.forces_predicted - parity.forces, found["forces"].errors, atol=1e-10
    )
    left_out = finished(leaving_out(frames, fitted, KEYS), len(frames), None)
    n_whole = sum(3 * len(a) for a in frames[:-2] if len(a) > 1) + 9
    assert len(left_out["forces"].errors) == n_whole
    assert outlooks(fitted, frames[1:3], cut_outs, keys=KEYS)["forces"].now > 0
    aimed_at = outlooks(fitted, cut_outs[:1], frames[1:3], keys=KEYS)
    (cut,) = cut_outs[:1]
    rows = property_rows(fitted.features(cut), "forces", cut.arrays[WHOLE])
    variances = np.sum(fitted.posterior.whiten(rows) ** 2, axis=0)
    assert list(aimed_at) == ["forces"]
    assert aimed_at["forces"].now == pytest.approx(np.sqrt(variances.mean()))
    given = given_labels(fitted, cut_outs[0], KEYS)
    assert not np.array_equal(given.posterior.mean, fitted.posterior.mean)
    assert calibrated(fitted, cut_outs, KEYS).scales.forces.n_structures == 2


def test_other_atoms_are_no_examples(fitted, cut_outs, frames, descriptor):
    """Neither for the support nor for thresholds of triggers."""
    known = Support.of(cut_outs, descriptor).known[29].features
    features = [each.values for each in descriptor.compute(cut_outs)]
    whole = np.concatenate([f[mask] for f, mask in zip(features, MASKS, strict=True)])
    np.testing.assert_allclose(
        sorted(known[:, 0]), sorted((whole * descriptor.prior_std())[:, 0]), rtol=1e-10
    )
    values = training_criteria([ForceTrigger(1.0)], frames[-3:], fitted.calculator(), fitted, KEYS)
    assert np.isnan(values[:, 0]).tolist() == [False, True, True]


def test_an_expectation_is_of_whole_atoms(fitted, cut_outs):
    atoms = cut_outs[1]
    labels = targets(atoms, KEYS)
    expected = Expectation.of(fitted, atoms, labels, fitted.features(atoms))
    assert {prop: len(rows) for prop, rows in expected.predicted.items()} == {"forces": 3}
    assert expected.surprise(labels).sizes.keys() == {"forces"}


def test_files_keep_which_atoms_are_whole(tmp_path, cut_outs):
    frames = [atoms.copy() for atoms in cut_outs]
    frames[1].arrays["forces"][:3] = np.nan
    write_frames(tmp_path / "frames.xyz", frames)
    again = read_frames(tmp_path / "frames.xyz")
    for one, other, whole in zip(frames, again, MASKS, strict=True):
        assert other.arrays[WHOLE].dtype == bool
        assert other.arrays[WHOLE].tolist() == whole
        np.testing.assert_allclose(
            targets(other, KEYS).forces, targets(one, KEYS).forces, atol=1e-7
        )
        assert canonical(other).arrays[WHOLE].tolist() == whole
        assert structure_id(canonical(other)) == structure_id(canonical(one))


def test_masks_of_users_are_read_and_checked(tmp_path):
    lines = ["2", 'Properties=species:S:1:pos:R:3:forces:R:3:bayesel_whole:I:1 pbc="F F F"']
    lines += ["Cu 0 0 0 0.1 0 0 1", "Cu 0 0 2.5 0 0 0 0"]
    (tmp_path / "own.xyz").write_text("\n".join(lines) + "\n")
    (own,) = read_frames(tmp_path / "own.xyz")
    assert targets(own, KEYS).forces.tolist() == [[0.1, 0.0, 0.0]]
    own.arrays[WHOLE] = np.array([2, 0])
    with pytest.raises(StructureError, match="frame 7: 'bayesel_whole' must be true or false"):
        targets(own, KEYS, "frame 7")
    own.arrays[WHOLE] = np.zeros(2, bool)
    with pytest.raises(StructureError, match="no atom is 'bayesel_whole'"):
        targets(own, KEYS)


def test_a_survey_misses_no_energies_of_cut_outs(frames):
    survey = survey_labels(frames, KEYS, "isolated", "train")
    assert survey.counts == {"energy": 10, "forces": 12, "virial": 9}
    assert not survey.partial
    assert not survey.bare_virials
