"""New labels beside what the model before expected: the wrong ones are set aside and named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.io import write
from helpers.campaigns import campaign, copy_campaign, ended, reports, write_campaign
from helpers.command_line import assert_refused, call
from helpers.structures import alloy_cells, reference

from ase_bayesel import Surrogate, fit_surrogate
from ase_bayesel.campaign.causes import per_element
from ase_bayesel.campaign.decisions import decide, read_decisions, take_decisions
from ase_bayesel.campaign.screening import NewLabel, screened
from ase_bayesel.campaign.set_aside import left_out, new_labels, read_verdicts, surprises_left_out
from ase_bayesel.cli.report import write_report
from ase_bayesel.descriptors.ace import ACEDescriptor
from ase_bayesel.errors import ConfigError, LabellingError, StoreError
from ase_bayesel.structures.identity import structure_id
from ase_bayesel.structures.labels import FitTargets, PropertyKeys
from ase_bayesel.structures.reference_energies import fitted_targets
from ase_bayesel.surrogate.design import Noise, property_rows, property_targets, row_scales
from ase_bayesel.surrogate.expectation import Expectation
from ase_bayesel.surrogate.fitting import Weights
from ase_bayesel.surrogate.posterior import Posterior
from ase_bayesel.surrogate.scales import Scales

KEYS = PropertyKeys("REF_energy", "REF_forces")
SHIFTED = "other reference energies"


@pytest.fixture(scope="module")
def batch():
    """Six right labels of hotter structures than those of the fit."""
    descriptor = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=6, cutoff=4.5)
    known = [reference(atoms) for atoms in alloy_cells(40, 0.08, 0)]
    surrogate = fit_surrogate(known, descriptor, "REF_energy", "REF_forces", e0s="average")
    frames = [reference(atoms) for atoms in alloy_cells(6, 0.16, 100)]
    return list(new_labels(surrogate, frames, KEYS))


def energy(change):
    return lambda label, new: replace(label, energy=change(label.energy, new))


def forces(change):
    return lambda label, new: replace(label, forces=change(label.forces))


def atomic(label, new):
    energy_Ha = label.energy / units.Hartree
    return replace(label, energy=energy_Ha, forces=label.forces * units.Bohr / units.Hartree)


def one_component(values):
    changed = values.copy()
    changed[2, 1] += 3.0
    return changed


KCAL, KJ = units.kcal / units.mol, units.kJ / units.mol
NO_UNIT = "fit by no unit or sign"
FAULTS = [
    ("kcal", energy(lambda e, new: e / KCAL), "energy is in kcal/mol"),
    ("kJ", energy(lambda e, new: e / KJ), "energy is in kJ/mol"),
    ("5 eV", energy(lambda e, new: e + 5.0), "off by +5"),
    ("50 eV", energy(lambda e, new: e - 50.0), "off by -50"),
    ("no E0", energy(lambda e, new: e - new.expected.baseline), "E0) are taken off"),
    ("flipped", forces(lambda f: -f), "forces have the wrong sign"),
    ("Hartree/Bohr", forces(lambda f: f * units.Bohr / units.Hartree), "Hartree/Bohr"),
    ("Rydberg/Bohr", forces(lambda f: f * units.Bohr / units.Rydberg), "Rydberg/Bohr"),
    ("kcal/A", forces(lambda f: f / KCAL), "forces are in kcal/mol/A"),
    ("kJ/A", forces(lambda f: f / KJ), "forces are in kJ/mol/A"),
    ("halved", forces(lambda f: f / 2), "half of what"),
    ("zero", forces(lambda f: 0 * f), "all are zero"),
    ("order", forces(lambda f: f[::-1]), NO_UNIT),
    ("axes", forces(lambda f: f[:, [1, 2, 0]]), NO_UNIT),
    ("one component", forces(one_component), NO_UNIT),
    ("atomic units", atomic, "Hartree/Bohr"),
]


@pytest.mark.parametrize(("fault", "cause"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_wrong_label_is_set_aside_and_its_cause_named(batch, fault, cause):
    for k in (0, 3):
        wrong = [*batch]
        wrong[k] = replace(batch[k], labels=fault(batch[k].labels, batch[k]))
        verdicts = screened(wrong, Scales())
        assert [verdict.suspicious for verdict in verdicts] == [n == k for n in range(len(batch))]
        assert cause in verdicts[k].cause


def test_right_labels_are_not(batch):
    for count in (1, 2, 6):
        verdicts = screened(batch[:count], Scales())
        assert not any(verdict.suspicious for verdict in verdicts)
        assert all(verdict.cause == verdict.found == "" for verdict in verdicts)


def test_the_label_of_another_structure(batch):
    same = [k for k, new in enumerate(batch) if new.composition == batch[0].composition]
    assert len(same) > 1
    wrong = [*batch]
    wrong[0] = replace(batch[0], labels=batch[same[1]].labels)
    assert screened(wrong, Scales())[0].suspicious


def test_a_whole_batch_with_other_reference_energies(batch):
    """No label of the batch tells that the others are wrong."""
    shifts = {"Cu": 1.0, "Al": -2.0}
    wrong = []
    for new in batch:
        shift = sum(shifts[symbol] * count for symbol, count in new.composition.items())
        wrong.append(replace(new, labels=replace(new.labels, energy=new.labels.energy + shift)))
    verdicts = screened(wrong, Scales())
    assert all(verdict.suspicious for verdict in verdicts)
    assert all(SHIFTED in verdict.cause for verdict in verdicts)


def test_shifts_per_element():
    counts = [{"Cu": 2, "Al": 2}, {"Cu": 3, "Al": 1}, {"Cu": 1, "Al": 3}]
    errors = [2 * 1.0 - 2 * 0.5, 3 * 1.0 - 0.5, 1.0 - 3 * 0.5]
    assert per_element(errors, counts) == pytest.approx({"Cu": 1.0, "Al": -0.5})
    assert per_element([1.0, -2.0, 3.0], counts) is None
    assert per_element([5.0], [{"Cu": 4}]) is None
    assert per_element([4.0, 8.0], [{"Cu": 4}, {"Cu": 8}]) == pytest.approx({"Cu": 1.0})


def test_a_single_label_is_compared_with_earlier_ones(batch):
    earlier = [verdict.sizes for verdict in screened(batch, Scales())]
    assert not screened(batch[:1], Scales(), earlier)[0].suspicious
    order = batch[0].labels.forces[::-1]
    wrong = replace(batch[0], labels=replace(batch[0].labels, forces=order))
    assert screened([wrong], Scales(), earlier)[0].suspicious


# in a campaign


def by_hand(folder, rounds=2, changes=None):
    settings = {"labelling": "none", "stop.max_rounds": rounds, **(changes or {})}
    config = write_campaign(folder, settings)
    write(folder / "train.extxyz", [reference(atoms) for atoms in alloy_cells(40, 0.08, 0)])
    store, _ = ended(config)
    return config, store


def answer(store, number, wrong=()):
    """Put labels in place; those numbered in ``wrong`` are 20 eV off."""
    frames = [reference(atoms) for atoms in store.read_batch(number)]
    for k in wrong:
        frames[k].info["REF_energy"] += 20.0
    write(store.by_hand_path(number), frames, format="extxyz")


@pytest.fixture(scope="module")
def suspicious(tmp_path_factory):
    """A campaign whose first round has a wrong label, the second a right one of each pick."""
    config, store = by_hand(tmp_path_factory.mktemp("wrong"))
    answer(store, 1, wrong=[1])
    ended(config)
    return config, store


def names(store, number=1):
    return [pick.info["bayesel_id"] for pick in store.read_batch(number)]


def test_it_is_named_everywhere_and_the_campaign_goes_on(suspicious):
    config, store = suspicious
    name = names(store)[1]
    report = store.read_report(1)
    assert [suspect.name for suspect in report.suspects] == [name]
    assert "off by +20" in report.suspects[0].cause
    assert (report.picks, report.failed, report.n_labels, report.n_train) == (3, 0, 3, 42)
    assert store.batch_path(2).exists()
    status = call("status", config, "--dir", store.directory).stdout
    assert f"round 1: {report.suspects[0]}" in status
    assert f"to decide by bayesel accept or bayesel reject: {name}" in status
    assert str(report.suspects[0]) in write_report(store).read_text()


def test_the_covariance_knows_it(suspicious):
    """Else walkers would go back to it; and what is fitted alone is kept for the next screening."""
    _, store = suspicious
    known, fitted = (Surrogate.load(p) for p in (store.model_path(1), store.fitted_path(1)))
    pick = store.read_batch(1)[1]
    assert known.energy_std(pick) < 0.5 * fitted.energy_std(pick)
    assert store.fitted_path(0) == store.model_path(0)
    np.testing.assert_array_equal(known.posterior.mean, fitted.posterior.mean)


@pytest.mark.parametrize(("decision", "more"), [("accept", 1), ("reject", 0)])
def test_a_decision_counts_in_the_next_fit(suspicious, tmp_path, decision, more):
    config = copy_campaign(suspicious[0], tmp_path)
    store = campaign(config).store
    name = names(store)[1]
    done = call(decision, config, name, "--dir", store.directory)
    assert done.exit_code == 0, done.stderr
    assert f"{name}: {decision}ed, from the next fit on" in done.stdout
    answer(store, 2)
    ended(config)
    report = store.read_report(2)
    assert report.suspects == ()
    assert report.n_train == 42 + report.picks + more
    status = call("status", config, "--dir", store.directory).stdout
    assert f"{name}: {decision}ed by you" in status
    assert "to decide" not in status


def test_an_accepted_label_is_new_to_the_next_fit_and_keeps_its_place(suspicious, tmp_path):
    config = copy_campaign(suspicious[0], tmp_path)
    running = campaign(config)
    store, name = running.store, names(running.store)[1]
    assert store.read_labelled(1)[1].identity == name
    known = [structure_id(atoms) for atoms in running._training_set(1)]
    call("accept", config, name, "--dir", store.directory)
    answer(store, 2)
    ended(config)
    running = campaign(config)
    after = running._training_set(2)
    ids = [structure_id(atoms) for atoms in after]
    picks = store.read_report(2).picks
    assert ids[: len(known)] == known
    assert ids[len(known)] == name
    assert after.n_new == picks + 1 == len(ids) - len(known)


def test_labels_that_repeat_an_earlier_one_are_set_aside(tmp_path):
    stuck = {
        "kind": "import",
        "factory": "helpers.faulty:StuckEMT",
        "parameters": {"note": str(tmp_path / "first.npz")},
        "canary": False,
    }
    changes = {"labelling": stuck, "stop": {"max_rounds": 1, "max_failures": None}}
    store, _ = ended(write_campaign(tmp_path, changes))
    first, *others = names(store)
    verdicts = read_verdicts(store, 1)
    assert len(others) == 2
    for name in others:
        assert verdicts[name].found == f"energy and forces are those of {first} to the last digit"
        assert "the engine has returned what it computed before" in verdicts[name].cause
    assert "to the last digit" not in verdicts[first].found
    assert left_out(store, 1, None) >= {*others}


def test_a_right_label_can_be_rejected(suspicious, tmp_path):
    store = campaign(copy_campaign(suspicious[0], tmp_path)).store
    decide(store, names(store)[0], "rejected")
    assert left_out(store, 1, None) == {names(store)[1]}  # the fit of round 1 is made
    assert left_out(store, 2, None) == set(names(store)[:2])


def test_decisions_of_a_fit_under_way_stay(suspicious, tmp_path):
    store = campaign(copy_campaign(suspicious[0], tmp_path)).store
    name = names(store)[1]
    take_decisions(store, 2)
    decide(store, name, "accepted")
    take_decisions(store, 2)
    assert left_out(store, 2, None) == {name}
    assert left_out(store, 3, None) == frozenset()


def test_decisions_on_what_is_not_there(suspicious):
    config, store = suspicious
    refused = call("accept", config, "nothing", "--dir", store.directory)
    assert_refused(refused, "has no label of 'nothing'")
    with pytest.raises(ConfigError):
        decide(store, "nothing", "rejected")
    assert read_decisions(store) == {}


def test_screening_again_gives_the_same(suspicious, tmp_path):
    """A kill after the labels are noted, and before the round is done."""
    config = copy_campaign(suspicious[0], tmp_path)
    store = campaign(config).store
    whole, report = read_verdicts(store, 1), store.read_report(1)
    for name in ("screened.json", "DONE", "report.json", "model.npz", "fitted.npz"):
        (store.round_directory(1) / name).unlink()
    ended(config)
    assert read_verdicts(store, 1) == whole
    assert reports(store)[1] == report


@pytest.fixture(scope="module")
def all_set_aside(tmp_path_factory):
    """A campaign of which every label of the first round is wrong, and two are too many."""
    config, store = by_hand(tmp_path_factory.mktemp("aside"), 1, {"stop.max_failures": 2})
    answer(store, 1, wrong=[0, 1, 2])
    told = f"round 1: the last 3 structures have all failed or been set aside, {names(store)[2]}"
    for _ in range(2):
        with pytest.raises(LabellingError, match=rf"{told} with: .*Al .5, Cu .5 eV.*max_failures"):
            ended(config)
    assert store.completed_rounds() == 1
    return config, store


def test_a_round_set_aside_entirely_ends_with_a_message(all_set_aside, tmp_path):
    """Until the labels are corrected."""
    config = copy_campaign(all_set_aside[0], tmp_path)
    store = campaign(config).store
    answer(store, 1)
    ended(config)
    report = store.read_report(1)
    assert (report.suspects, report.n_train) == ((), 43)


@pytest.mark.parametrize(("decision", "more"), [("accept", 3), ("reject", 0)])
def test_or_until_somebody_decides(all_set_aside, tmp_path, decision, more):
    config = copy_campaign(all_set_aside[0], tmp_path)
    store = campaign(config).store
    for name in names(store):
        assert call(decision, config, name, "--dir", store.directory).exit_code == 0
    ended(config)
    assert store.read_report(1).n_train == 40 + more


def test_or_no_number_is_too_large(all_set_aside, tmp_path):
    config = copy_campaign(all_set_aside[0], tmp_path)
    store = campaign(config).store
    config.write_text(config.read_text().replace("max_failures: 2", "max_failures: null"))
    ended(config)
    assert store.read_report(1).n_train == 40
    assert len(store.read_report(1).suspects) == 3


def test_damaged_records_are_named(suspicious, tmp_path):
    store = campaign(copy_campaign(suspicious[0], tmp_path)).store
    (store.directory / "decisions.json").write_text(json.dumps({"a": "perhaps"}))
    with pytest.raises(StoreError, match=r"decisions\.json: is damaged"):
        read_decisions(store)


def test_labels_where_the_model_says_nothing_are_right():
    """Atoms apart: all predictions vanish, and no factor can be asked for."""
    expected = Expectation(2, None, {"forces": np.zeros(6)}, {"forces": 0.02}, np.eye(6), 0.0)
    label = FitTargets(forces=np.array([[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]]))
    new = NewLabel(label, expected, {"Cu": 2}, 0.0)
    (verdict,) = screened([new], Scales(), [{"forces": 0.5}] * 5)
    assert not verdict.suspicious


def test_an_absurd_label_has_a_finite_size(batch):
    absurd = replace(batch[0].labels, energy=1e200)
    sizes = batch[0].expected.surprise(absurd).sizes
    assert np.isfinite([*sizes.values()]).all()
    assert screened([replace(batch[0], labels=absurd)], Scales())[0].suspicious


def test_extreme_structures_do_not_tell_what_is_usual():
    frames = [reference(atoms) for atoms in alloy_cells(8, 0.05, 0)]
    limit = 1.5 * max(np.abs(a.arrays["REF_forces"]).max() for a in frames)
    frames[3].arrays["REF_forces"] = 100 * frames[3].arrays["REF_forces"]
    descriptor = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=4, cutoff=4.5)
    surrogate = fit_surrogate(frames, descriptor, "REF_energy", "REF_forces", e0s="average")
    assert len(surprises_left_out(surrogate, frames, KEYS)) == 8
    assert len(surprises_left_out(surrogate, frames, KEYS, None, limit)) == 7


def test_training_structures_left_out_are_as_a_fit_without_them_tells():
    """In closed form: beside a posterior from which the rows were taken."""
    descriptor = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=4, cutoff=4.0)
    known = [reference(atoms) for atoms in alloy_cells(40, 0.2, 0)]
    labels = ("REF_energy", "REF_forces", "REF_virial")
    keys, e0s = PropertyKeys(*labels), {"Cu": 0.1, "Al": 0.2}
    surrogate = fit_surrogate(known, descriptor, *labels, e0s=e0s, weights=Weights(high_energy=0.3))
    atoms, features = known[3], surrogate.features(known[3])
    target = fitted_targets(atoms, keys, e0s)
    scales = row_scales(
        *(atoms, target, surrogate.properties, surrogate.baseline(atoms), surrogate.energy_weights)
    )
    assert scales["forces"] < 0.99
    rows, values = [], []
    for prop, scale in scales.items():
        unit = surrogate.noise.std(prop, len(atoms)) / scale
        rows.append(property_rows(features, prop) / unit)
        values.append(property_targets(target, prop, surrogate.baseline(atoms)) / unit)
    block, observed = np.concatenate(rows), np.concatenate(values)
    factor = surrogate.posterior.precision_factor
    precision = factor.T @ factor
    left = precision - block.T @ block
    right_side = precision @ surrogate.posterior.mean - block.T @ observed
    posterior = Posterior(np.linalg.cholesky(left).T, np.linalg.solve(left, right_side))
    expected = Expectation.of(replace(surrogate, posterior=posterior), atoms, target, features)
    found = Expectation.left_out(surrogate, atoms, target, features)
    sizes = expected.surprise(target).sizes
    assert found.surprise(target).sizes == pytest.approx(sizes, rel=1e-3)
    assert found.worst_force(target) == pytest.approx(expected.worst_force(target), rel=1e-3)


def test_a_fit_through_all_its_labels_does_not_make_small_errors_suspicious(batch):
    """Energies and forces that are as exact as numbers can be, and errors that matter to nobody."""
    new = batch[0]
    exact = {prop: 1e-5 * unit for prop, unit in new.expected.units.items()}
    certain = replace(new.expected, units=exact, factor=np.eye(len(new.expected.factor)))
    right = certain.predicted["forces"].reshape(-1, 3)
    energy = certain.predicted["energy"].item() + certain.baseline
    sizes = [{"forces": 1.0, "energy": 1.0}] * 5
    for off, suspicious in ((0.01, False), (1.0, True)):
        label = replace(new.labels, forces=right + off, energy=energy + off)
        assert certain.surprise(label).sizes["forces"] > 1000
        changed = replace(new, labels=label, expected=certain)
        (verdict,) = screened([changed], Scales(), sizes)
        assert verdict.suspicious == suspicious


def test_more_noise_is_that_of_a_fit_with_it():
    noise = Noise(energy=0.5, forces=2.0)
    descriptor = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=4, cutoff=4.0)
    known = [reference(atoms) for atoms in alloy_cells(8, 0.1, 0)]
    surrogate = fit_surrogate(known, descriptor, "REF_energy", "REF_forces", e0s="average")
    atoms, features = known[3], surrogate.features(known[3])
    target = fitted_targets(atoms, KEYS, surrogate.e0s)
    found = Expectation.of(surrogate, atoms, target, features).with_noise(noise)
    noisy = Expectation.of(replace(surrogate, noise=noise), atoms, target, features)
    np.testing.assert_allclose(found.factor, noisy.factor, atol=1e-8)
    assert found.units == pytest.approx(noisy.units)


@pytest.mark.parametrize(("n_atoms", "suspicious"), [(3, False), (30, True)])
def test_forces_of_a_small_molecule_are_near_a_multiple_by_chance(n_atoms, suspicious):
    """The same angle between label and prediction, in few directions and in many."""
    rng = np.random.default_rng(0)
    along, across = np.linalg.qr(rng.normal(size=(3 * n_atoms, 2)))[0].T
    length = 10.0 * np.sqrt(3 * n_atoms)
    predicted = {"forces": length * (0.8 * across - 0.9 * along)}
    units, factor = {"forces": 1.0}, np.eye(3 * n_atoms)
    expected = Expectation(n_atoms, None, predicted, units, factor, 0.0)
    label = FitTargets(forces=length * along.reshape(-1, 3))
    usual = expected.surprise(label).sizes["forces"] / 1.5
    new = NewLabel(label, expected, {"Cu": n_atoms}, 0.0)
    (verdict,) = screened([new], Scales(), [{"forces": usual}] * 5)
    assert verdict.suspicious == suspicious
    if suspicious:
        assert "factor of about -1.1" in verdict.found
