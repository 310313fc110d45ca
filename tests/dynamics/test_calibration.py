"""Thresholds from the training set left out in turn, or from unbiased MD."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from helpers.campaigns import campaign_settings, write_campaign
from helpers.differences import assert_close
from helpers.files import hashes
from helpers.mace_models import mace_calculator, needs_mace, tiny_mace
from helpers.structures import cluster, copper, copper_training, emt_labelled
from hypothesis import given
from hypothesis import strategies as st

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    Campaign,
    EnergyTrigger,
    ForceTrigger,
    MACEDescriptor,
    Posterior,
    RelativeForceTrigger,
    Surrogate,
    Weights,
    fit_surrogate,
    run_walker,
)
from ase_bayesel.campaign.campaign import Progress
from ase_bayesel.campaign.config.loading import load_config, validate_config
from ase_bayesel.cli.report import write_report
from ase_bayesel.cli.report.trigger import trigger_text
from ase_bayesel.dynamics.triggers import (
    InformationTrigger,
    LocalEnergyTrigger,
    StressTrigger,
    quantile_threshold,
    reported_criteria,
    training_criteria,
    uncalibrated,
    with_thresholds,
)
from ase_bayesel.errors import BayeselError, ConfigError, SingularPrecisionError, StoreError
from ase_bayesel.structures.labels import PropertyKeys, targets
from ase_bayesel.structures.reference_energies import fitted_targets
from ase_bayesel.surrogate.design import usable_properties, weighted_rows

KEYS = PropertyKeys("energy", "forces", "virial")
PROBES = [
    RelativeForceTrigger(1.0),
    ForceTrigger(1.0),
    EnergyTrigger(1.0),
    StressTrigger(1.0),
    LocalEnergyTrigger(1.0),
    InformationTrigger(1.0),
]


# leaving rows out of a posterior


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 8), st.integers(0, 3))
def test_without_rows_against_refactorisation(seed, n_features, k, decades):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-decades, decades, n_features)
    kept = rng.normal(size=(15, n_features)) * scale
    left = rng.normal(size=(k, n_features)) * scale
    prior = Posterior.from_prior(10.0 / scale)
    full = prior.condition(np.concatenate([left, kept]), rng.normal(size=15 + k))
    found, expected = full.without(left), prior.condition(kept)
    rows = rng.normal(size=(4, n_features)) * scale
    np.testing.assert_allclose(found.variance(rows), expected.variance(rows), rtol=1e-8)
    assert found.logdet == pytest.approx(expected.logdet, rel=1e-9, abs=1e-8)
    np.testing.assert_array_equal(found.mean, full.mean)


@given(st.integers(0, 2**32 - 1))
def test_leverage_by_woodbury(seed):
    """Own rows: Var_-k = S (I - S)^-1 with S = A Sigma A^T of the full posterior."""
    rng = np.random.default_rng(seed)
    full = Posterior.isotropic(8, 2.0).condition(rng.normal(size=(12, 8)))
    rows = rng.normal(size=(3, 8))
    full = full.condition(rows)
    leverage = rows @ np.linalg.inv(full.precision_factor.T @ full.precision_factor) @ rows.T
    expected = np.diagonal(leverage @ np.linalg.inv(np.eye(3) - leverage))
    np.testing.assert_allclose(full.without(rows).variance(rows), expected, rtol=1e-8)


def test_rows_that_were_never_seen_cannot_be_left_out():
    with pytest.raises(SingularPrecisionError, match="without these rows"):
        Posterior.isotropic(3, 1.0).without(2.0 * np.eye(3))
    assert Posterior.isotropic(3, 1.0).without(np.zeros((2, 3))).logdet == 0.0


# the training set left out in turn


@pytest.fixture(scope="module")
def frames():
    """Cells, a cluster without a virial, one without labels, one with an energy only."""
    unlabelled, energy_only = copper(20, 0.2), emt_labelled(copper(21, 0.2))
    del energy_only.arrays["forces"], energy_only.info["virial"]
    others = [emt_labelled(cluster("Cu5", 3)), unlabelled, energy_only]
    return [*copper_training()[:6], *others]


def refitted_without(k, frames, surrogate, prior_std, keys=KEYS):
    """Oracle: the posterior of all rows but those of one structure, from the prior on."""
    posterior = Posterior.from_prior(prior_std)
    for number, atoms in enumerate(frames):
        labels = fitted_targets(atoms, keys, surrogate.e0s)
        labelled = [p for p in surrogate.properties if getattr(labels, p) is not None]
        usable = usable_properties(atoms, labelled or surrogate.properties)
        if number != k and usable:
            features = surrogate.descriptor.compute([atoms], derivatives=True)[0]
            posterior = posterior.condition(weighted_rows(features, surrogate.noise, usable))
    return replace(surrogate, posterior=posterior)


@pytest.mark.parametrize("kind", ["ace", pytest.param("mace", marks=needs_mace)])
def test_criteria_are_those_of_a_refit_without_the_structure(frames, kind):
    """At the same hyperparameters: all rows but one structure's, added to the prior anew."""
    if kind == "mace":
        potential = mace_calculator(tiny_mace())
        descriptor, frames = MACEDescriptor(potential), frames[-4:]
    else:
        descriptor = ACEDescriptor("Cu", totaldegree=6)
    fitted = fit_surrogate(frames, descriptor, virial_key="virial", e0s={"Cu": 3.5})
    if kind == "ace":
        potential = fitted.calculator()
    prior_std = 2.0 * descriptor.prior_std()
    surrogate = refitted_without(None, frames, fitted, prior_std)
    found = training_criteria(PROBES, frames, potential, surrogate, KEYS, force_search=None)
    assert found.shape == (len(frames), len(PROBES))
    for k, atoms in enumerate(frames):
        if len(atoms) == 1:
            assert np.isnan(found[k]).all()
            continue
        left_out = refitted_without(k, frames, fitted, prior_std)
        calculator = BiasedCalculator(potential, left_out, tau=0.0, force_search=None)
        calculator.get_forces(atoms)
        for value, trigger in zip(found[k], PROBES, strict=True):
            if isinstance(trigger, StressTrigger) and not atoms.pbc.all():
                assert np.isnan(value)
            else:
                expected = trigger(calculator.prediction, atoms).value
                assert value == pytest.approx(expected, rel=1e-6)


def test_rows_that_are_left_out_are_those_of_the_fit(frames):
    """All of them, added up, are the precision of a fit but for its prior."""
    fitted = fit_surrogate(
        frames, ACEDescriptor("Cu", totaldegree=6), virial_key="virial", e0s={"Cu": 3.5}
    )
    factor, scale = fitted.posterior.precision_factor, fitted.descriptor.prior_std()
    precision = factor.T @ factor
    without_prior = refitted_without(None, frames, fitted, 1e6 * scale).posterior.precision_factor
    prior = (precision - without_prior.T @ without_prior) * np.outer(scale, scale)
    size = np.abs(precision * np.outer(scale, scale)).max()
    of_each = np.median(np.diagonal(prior))  # some entries are differences of large numbers
    assert 0 < of_each < 1e-3 * size
    expected = of_each * np.eye(len(prior))
    np.testing.assert_allclose(prior, expected, atol=1e-9 * size)


def test_weighted_rows_are_left_out_as_they_were_fitted(frames):
    """Weights of energies, of files, and of zero: leaving out finds what a fit put in."""
    weighted = [atoms.copy() for atoms in frames]
    for k, atoms in enumerate(weighted):
        atoms.info["config_weight"] = 0.5 + k
    weighted[1].info["config_forces_weight"] = 0.0
    weighted[2].info["config_weight"] = 0.0
    fitted = fit_surrogate(
        weighted,
        ACEDescriptor("Cu", totaldegree=6),
        virial_key="virial",
        e0s={"Cu": 3.5},
        weights=Weights(high_energy=0.05),
    )
    criteria = training_criteria(
        [ForceTrigger(1.0)], weighted, fitted.calculator(), fitted, KEYS, force_search=None
    )
    factor = fitted.posterior.precision_factor
    for k, atoms in enumerate(weighted):
        if len(atoms) == 1:
            continue
        features = fitted.features(atoms)
        labels = targets(atoms, KEYS)
        growth = 1.0
        if labels.energy is not None:
            above = labels.energy - fitted.baseline(atoms)
            growth = fitted.energy_weights.factor(atoms, above)
        names = [p for p in fitted.properties if getattr(labels, p) is not None]
        of_file = np.sqrt(atoms.info["config_weight"])
        rows = [
            weighted_rows(features, fitted.noise, [p]) * of_file / growth
            for p in usable_properties(atoms, names or fitted.properties)
            if not (k == 1 and p == "forces")
        ]
        stacked = np.concatenate([np.zeros((1, fitted.descriptor.n_features)), *rows])
        rest = np.linalg.inv(factor.T @ factor - stacked.T @ stacked)
        forces = -features.jacobian.transpose(1, 2, 0).reshape(-1, fitted.descriptor.n_features)
        variances = np.einsum("kd,de,ke->k", forces, rest, forces).reshape(-1, 3).sum(axis=1)
        assert criteria[k, 0] == pytest.approx(np.sqrt(variances.max()), rel=1e-4)


def test_left_out_structures_are_more_uncertain(cu_surrogate):
    frames = copper_training()
    potential = cu_surrogate.calculator()
    left_out = training_criteria([ForceTrigger(1.0)], frames, potential, cu_surrogate, KEYS)[1:, 0]
    within = [cu_surrogate.uncertainty(atoms).forces.max() for atoms in frames[1:]]
    assert (left_out > within).all()
    assert np.median(left_out) > 1.5 * np.median(within)


@needs_mace
@pytest.mark.slow
def test_sketched_rows_are_left_out_as_they_were_fitted():
    """A fit from projections of the force rows: nothing but the prior and the others remains."""
    potential = mace_calculator(tiny_mace())
    frames = [emt_labelled(copper(k, 0.1, repeat=(1, 1, 2))) for k in range(3)]
    options = {"e0s": "average", "force_projections": 5}
    surrogate = fit_surrogate(frames, MACEDescriptor(potential), **options)
    keys = PropertyKeys()
    one = training_criteria([ForceTrigger(1.0)], frames, potential, surrogate, keys, 5)
    two = training_criteria([ForceTrigger(1.0)], frames, potential, surrogate, keys, 5)
    np.testing.assert_array_equal(one, two)
    full = [surrogate.uncertainty(atoms).forces.max() for atoms in frames]
    assert (one[:, 0] > full).all()


# quantiles


@given(
    st.lists(st.floats(0.1, 10.0), min_size=1, max_size=20),
    st.floats(0.0, 1.0),
    st.floats(0.1, 3.0),
)
def test_quantile(values, quantile, factor):
    found = quantile_threshold(np.array([np.nan, *values]), quantile, factor)
    assert min(values) * factor * (1 - 1e-12) <= found <= max(values) * factor * (1 + 1e-12)
    if quantile == 1.0:
        assert found == pytest.approx(factor * max(values))


@pytest.mark.parametrize("values", [[], [np.nan], [0.0, 0.0]])
def test_no_quantile_no_threshold(values):
    with pytest.raises(BayeselError, match="force: no threshold from"):
        quantile_threshold(np.array(values), 0.5, name="force")


# unbiased MD


def test_criteria_along_a_trajectory(cu_surrogate):
    calculator = BiasedCalculator(cu_surrogate.calculator(), cu_surrogate, tau=0.0)
    probes = [ForceTrigger(0.0), EnergyTrigger(0.0)]
    options = {"n_steps": 12, "temperature_K": 300.0, "triggers": probes, "check_interval": 4}
    steps = list(run_walker(copper(1), calculator, rng=np.random.default_rng(0), **options))
    found = reported_criteria(steps)
    expected = [
        [cu_surrogate.uncertainty(s.atoms).forces.max(), s.prediction.energy_std / 4]
        for s in steps[4::4]
    ]
    assert_close(found, expected, 1e-9)


# in a campaign


TRAINING = {"calibrate": "training", "quantile": 0.8, "factor": 0.5}
MD = {"calibrate": "md", "quantile": 0.9, "steps": 12, "factor": 1.1}


def trigger_of(*members):
    return {"explore.trigger": {"kind": "any", "members": list(members)}}


def campaign_of(folder, changes):
    return Campaign(load_config(write_campaign(folder, changes)), folder / "campaign")


def test_a_calibrated_campaign(tmp_path):
    """Both ways at once, against the same functions called by hand; kept by a resume."""
    changes = trigger_of(
        {"kind": "relative_force", "threshold": TRAINING},
        {"kind": "energy_per_atom", "threshold": 5.0},
        {"kind": "local_energy", "threshold": MD},
    )
    campaign = campaign_of(
        tmp_path, {**changes, "explore.pick": {"spacing": 4}, "explore.start_energy": None}
    )
    events = list(campaign.run())
    store = campaign.store
    relative, local = store.read_thresholds()
    stages = [e.stage for e in events if isinstance(e, Progress)]
    assert stages.count("calibrate") == 6 + 2
    surrogate = Surrogate.load(store.model_path(0))
    train, keys = store.read_input("train"), PropertyKeys("REF_energy", "REF_forces")
    values = training_criteria(
        [RelativeForceTrigger(1.0)], train, surrogate.calculator(), surrogate, keys
    )
    assert relative == pytest.approx(0.5 * np.quantile(values, 0.8), rel=1e-9)
    assert local > 0
    for number in (1, 2):
        for pick in store.read_batch(number):
            assert pick.info["bayesel_trigger"] == "any"
            assert f"{relative:.6g}" in pick.info["bayesel_reason"]
            assert f"{local:.6g}" in pick.info["bayesel_reason"]
    page = write_report(store).read_text()
    assert f"relative_force above {relative:.4g} (0.5 times the 0.8 quantile" in page
    assert f"local_energy above {local:.4g} eV (1.1 times the 0.9 quantile in unbiased MD)" in page
    before = hashes(store.directory)
    again = Campaign.open(store.directory)
    assert [type(e).__name__ for e in again.run()] == ["Ended"]
    assert hashes(store.directory) == before


@pytest.mark.slow
def test_the_calibrated_number_is_reproducible_and_kept(tmp_path):
    changes = {"explore.trigger.threshold": MD, "stop.max_rounds": 1}
    first = campaign_of(tmp_path / "a", changes)
    for event in first.run():
        if isinstance(event, Progress) and event.stage == "explore":
            break
    number = first.store.read_thresholds()
    resumed = campaign_of(tmp_path / "a", changes)
    list(resumed.run())
    assert resumed.store.read_thresholds() == number
    other = campaign_of(tmp_path / "b", changes)
    list(other.run())
    assert other.store.read_thresholds() == number
    ids = [[p.info["bayesel_id"] for p in c.store.read_batch(1)] for c in (resumed, other)]
    assert ids[0] == ids[1]
    assert len(ids[0]) > 0
    thresholds = [p.info["bayesel_threshold"] for p in resumed.store.read_batch(1)]
    np.testing.assert_allclose(thresholds, number[0], rtol=1e-12)


def test_a_damaged_file_of_thresholds_is_named(tmp_path):
    campaign = campaign_of(tmp_path, {"explore.trigger.threshold": TRAINING})
    path = campaign.store.directory / "thresholds.json"
    for text in ("", "{", "[1]", '{"calibrated": ["x"]}', '{"calibrated": null}'):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"thresholds\.json"):
            campaign.store.read_thresholds()


def test_a_calibration_that_sees_nothing_is_an_error(tmp_path):
    changes = {"explore.trigger.threshold": {**MD, "steps": 1}, "explore.check_interval": 40}
    with pytest.raises(BayeselError, match="relative_force: no threshold from 0 values"):
        list(campaign_of(tmp_path, changes).run())


# from the config


def explore_of(changes):
    return validate_config(campaign_settings(changes), "here.yaml").explore


def test_calibrated_numbers_find_their_places():
    nested = {
        "kind": "all",
        "members": [
            {"kind": "stress", "threshold": MD},
            {"kind": "any", "members": [{"kind": "information", "threshold": TRAINING}]},
        ],
    }
    changes = trigger_of(
        {"kind": "force", "threshold": 0.3}, nested, {"threshold": TRAINING, "eps": 0.7}
    )
    explore = explore_of(changes)
    assert [trigger.probe for trigger in uncalibrated(explore.trigger)] == [
        StressTrigger(0.0),
        InformationTrigger(0.0),
        RelativeForceTrigger(0.0, 0.7),
    ]
    built = with_thresholds(explore.trigger, (1.0, 2.0, 3.0))
    first, second, third = built.members
    assert (first, third) == (ForceTrigger(0.3), RelativeForceTrigger(3.0, 0.7))
    assert second.members[0] == StressTrigger(1.0)
    assert second.members[1].members == (InformationTrigger(2.0),)
    with pytest.raises(ConfigError, match="stress: its threshold has not been calibrated"):
        with_thresholds(explore.trigger, ())
    text = trigger_text(explore.trigger, iter((1.0, 2.0)))
    assert text.startswith("any of (force above 0.3 eV/A; all of (stress above 1 GPa (1.1 times")
    assert "relative_force above a number to be calibrated" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"explore.trigger.threshold": {"calibrate": "dft"}},
            "explore.trigger.threshold.calibrate",
        ),
        ({"explore.trigger.threshold": {"calibrate": "md"}}, "md needs steps"),
        ({"explore.trigger.threshold": {**TRAINING, "steps": 3}}, "md needs steps"),
        ({"explore.trigger.threshold": {**TRAINING, "quantile": 1.5}}, "threshold.quantile"),
        ({"explore.trigger": {"kind": "any", "members": []}}, "explore.trigger.members"),
        (
            trigger_of({"kind": "entropy", "threshold": 1}),
            "explore.trigger.members.0.kind: 'entropy' is none of",
        ),
        (trigger_of({"kind": "force", "threshold": -1}), "explore.trigger.members.0.threshold"),
        ({"explore.pick": {"at": "top"}}, "explore.pick.at"),
        ({"explore.pick": {"patience": 3}}, "patience belongs to at: peak"),
        ({"explore.pick": {"at": "peak", "spacing": -1}}, "explore.pick.spacing"),
        ({"explore.guards": {"volume_ratio": 0.9}}, "explore.guards.volume_ratio"),
        ({"explore.guards": {"lost_atoms": 1.0}}, "explore.guards.lost_atoms"),
    ],
)
def test_wrong_sections_are_named(changes, message):
    with pytest.raises(ConfigError) as caught:
        explore_of(changes)
    assert message in str(caught.value)


def test_starts_that_do_not_fit_their_trigger_or_guards(tmp_path):
    stress = trigger_of({"kind": "stress", "threshold": 1.0})
    for changes, start, message in (
        (stress, Atoms("CuAl", [[0, 0, 0], [0, 0, 2.5]]), "stress trigger needs three periodic"),
        ({"explore.guards": {"melted": 0.3}}, Atoms("Cu"), "guard melted: no atom"),
    ):
        config = write_campaign(tmp_path, changes)
        write(tmp_path / "starts.extxyz", start)
        with pytest.raises(ConfigError, match=rf"starts\.extxyz, frame 0: .*{message}"):
            Campaign(load_config(config), tmp_path / "campaign")
