"""The campaign as a library; killed and resumed ones are in the second half."""

import os
import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from helpers.campaigns import (
    assert_same_campaign,
    by_positions,
    calls,
    campaign,
    copy_campaign,
    counted,
    ended,
    final_model,
    label_of,
    pick_ids,
    picks,
    reports,
    set_aside,
    settled,
    write_campaign,
    write_config,
)
from helpers.command_line import bayesel, finish, kill_when, start
from helpers.files import hashes
from helpers.structures import alloy_cells, copper, reference

from ase_bayesel import BiasedCalculator, Campaign, Surrogate, TauRule, run_walker, run_walkers
from ase_bayesel.campaign.build.walkers import walker_options
from ase_bayesel.campaign.campaign import Progress
from ase_bayesel.campaign.closest import closest_to_firing
from ase_bayesel.campaign.config import ExploreConfig
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Ended, RoundReport
from ase_bayesel.campaign.exploration import TRACE_COLUMNS
from ase_bayesel.campaign.store import Store
from ase_bayesel.errors import BayeselError, ConfigError, ExplorationError, LabellingError
from ase_bayesel.selection.select import select
from ase_bayesel.structures.identity import canonical, structure_id

GUARDS_OFF = {"close_contact": None, "max_force": None, "max_temperature_K": None}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def events(config):
    """Every event of an undisturbed campaign."""
    return list(campaign(config).run())


@pytest.fixture(scope="module")
def finished(config, events):
    """Its store; not to be written to."""
    return campaign(config).store


@pytest.fixture
def copied(finished, config, tmp_path):
    """Config of a copy of the finished campaign that a test may change."""
    return copy_campaign(config, tmp_path)


# a whole campaign


def test_errors_on_the_test_set_fall(finished):
    first, *_, last = reports(finished)
    assert last.energy_rmse < 0.7 * first.energy_rmse
    assert last.forces_rmse < 0.5 * first.forces_rmse


def test_errors_are_those_of_the_saved_models(finished):
    test = [reference(atoms) for atoms in alloy_cells(6, 0.15, 100)]
    for number, report in enumerate(reports(finished)):
        calculator = Surrogate.load(finished.model_path(number)).calculator()
        energy = [(calculator.get_potential_energy(a) - a.info["REF_energy"]) / 4 for a in test]
        forces = [calculator.get_forces(a) - a.arrays["REF_forces"] for a in test]
        assert report.energy_rmse == pytest.approx(np.sqrt(np.mean(np.square(energy))), rel=1e-4)
        assert report.forces_rmse == pytest.approx(np.sqrt(np.mean(np.square(forces))), rel=1e-4)


def test_counts(finished):
    assert [r.round_number for r in reports(finished)] == [0, 1, 2]
    assert [r.n_train for r in reports(finished)] == [6, 9, 12]
    assert [r.n_labels for r in reports(finished)] == [0, 3, 6]
    assert [r.picks for r in reports(finished)] == [0, 3, 3]
    assert [r.failed for r in reports(finished)] == [0, 0, 0]
    assert len(set(pick_ids(finished))) == 6


def test_events(events, finished):
    assert events[-1] == Ended("all 2 rounds are done")
    assert [e for e in events if isinstance(e, RoundReport)] == reports(finished)
    progress = [e for e in events if isinstance(e, Progress)]
    assert {e.stage for e in progress} == {"canary", "explore", "label", "fit"}
    assert all(0 <= e.done <= e.total for e in progress)
    for number in (1, 2):
        labelled = [e.done for e in progress if (e.round_number, e.stage) == (number, "label")]
        assert labelled == [1, 2, 3]


def test_exploration_progress_never_goes_back(events):
    done = [e.done for e in events if isinstance(e, Progress) and e.stage == "explore"]
    rounds = [e.round_number for e in events if isinstance(e, Progress) and e.stage == "explore"]
    for number in (1, 2):
        counts = [d for d, r in zip(done, rounds, strict=True) if r == number]
        assert counts == sorted(counts)


def test_labels_are_the_reference(finished):
    for pick in picks(finished):
        label = label_of(finished.directory, pick)
        expected = reference(pick)
        assert label.info["REF_energy"] == pytest.approx(expected.info["REF_energy"], abs=1e-8)
        np.testing.assert_allclose(
            label.arrays["REF_forces"], expected.arrays["REF_forces"], atol=1e-7
        )
        assert label.info["bayesel_engine"] == "ase.calculators.emt:EMT"


def test_picks_carry_their_origin(finished, config):
    explore = load_config(config).explore
    for number in (1, 2):
        trace = finished.exploration(number).read_trace()
        batch = finished.read_batch(number)
        assert len(batch) == 3
        for pick, row in zip(batch, trace[trace[:, -1] == 1], strict=True):
            assert pick.info["bayesel_id"] == structure_id(pick)
            assert pick.info["bayesel_trigger"] == "relative_force"
            assert (pick.info["bayesel_walker"], pick.info["bayesel_step"]) == (row[0], row[1])
            assert pick.info["bayesel_value"] == pytest.approx(row[4])
            assert pick.info["bayesel_value"] > pick.info["bayesel_threshold"] == 0.01
            assert 0 < pick.info["bayesel_step"] <= explore.steps
            assert pick.info["bayesel_step"] % explore.check_interval == 0


def test_uncertainty_of_a_pick_is_that_of_the_posterior_at_its_time(finished):
    surrogate = Surrogate.load(finished.model_path(0))
    for pick in finished.read_batch(1):
        found = surrogate.uncertainty(pick)
        np.testing.assert_allclose(pick.arrays["bayesel_force_std"], found.forces, rtol=1e-4)
        assert pick.info["bayesel_energy_std"] == pytest.approx(found.energy, rel=1e-3)
        atom = pick.info["bayesel_atom"]
        force = surrogate.calculator().get_forces(pick)[atom]
        ratio = found.forces[atom] / (np.linalg.norm(force) + 0.2)
        assert pick.info["bayesel_value"] == pytest.approx(ratio, rel=1e-4)
        surrogate = surrogate.condition(pick)


@pytest.mark.parametrize("number", [1, 2])
def test_posterior_after_the_picks_is_the_first_one_conditioned_on_them(finished, number):
    starts = finished.read_input("starts")
    state, posterior = finished.exploration(number).load(starts)
    first = Surrogate.load(finished.model_path(number - 1))
    expected = first.condition(finished.read_batch(number)).posterior
    assert len(state.picks) == 3
    np.testing.assert_allclose(
        posterior.precision_factor,
        expected.precision_factor,
        rtol=1e-9,
        atol=1e-9 * np.abs(expected.precision_factor).max(),
    )
    assert posterior.logdet > first.posterior.logdet + 1
    np.testing.assert_array_equal(posterior.mean, first.posterior.mean)


def test_last_model_is_fitted_to_all_labels(finished):
    last = final_model(finished)
    for pick in picks(finished):
        label = label_of(finished.directory, pick)
        assert last.energy(pick) == pytest.approx(label.info["REF_energy"], abs=2e-3)
        assert last.energy_std(pick) < 0.1 * pick.info["bayesel_energy_std"]


def test_inputs_are_copied_into_the_directory(tmp_path, finished):
    """The campaign goes on when the files that it started from have changed."""
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    ended(config)
    for name in ("train", "test", "starts"):
        (tmp_path / f"{name}.extxyz").write_text("nonsense")
    write_config(tmp_path, {"stop.max_rounds": 2})
    store, _ = ended(config)
    assert_same_campaign(store, finished)


# how it stops


def test_stops_when_nothing_triggers(tmp_path):
    changes = {"explore.trigger.threshold": 1e9, "explore.steps": 6, "stop.max_rounds": 5}
    store, last = ended(write_campaign(tmp_path, changes))
    trace = store.exploration(1).read_trace()
    value, step = trace[np.argmax(trace[:, 4]), [4, 1]]
    assert last.awaiting is None
    assert last.reason.startswith("nothing triggered in round 1: the largest value of a ")
    assert f" {value:.4g}, below its threshold of 1e+09 (walker " in last.reason
    section = f"trigger: {{kind: relative_force, threshold: {0.95 * value:.3g}, "
    assert f", step {step:.0f}); {section}" in last.reason
    zero, one = reports(store)
    assert (one.picks, one.n_labels, one.walkers) == (0, 0, ("finished", "finished"))
    assert one.forces_rmse == zero.forces_rmse
    assert len(settled(store.directory)) == 1  # of the canary


def test_what_came_closest_is_told_in_terms_of_its_own_threshold():
    """Walker 1 has a trigger of its own, and walker 2 none that was evaluated."""
    explore = ExploreConfig(
        starts="starts.extxyz", tau=0.0, trigger={"kind": "force", "threshold": 2.0}
    )
    own = copper(0)
    own.info["bayesel"] = {
        "trigger": {"kind": "any", "members": [{"kind": "force", "threshold": 9}]}
    }
    starts = [copper(0), own, copper(0)]
    trace = np.zeros((4, len(TRACE_COLUMNS)))
    trace[:, :2] = [[0, 5], [0, 10], [1, 5], [2, 5]]
    trace[:, 4] = [1.2, 1.4, 0.6, np.nan]
    told = closest_to_firing(explore, (), starts, trace)
    assert told.startswith(
        ": the largest value of a trigger was 1.4, below its threshold of 2 (walker 0, step 10); "
        "trigger: {kind: force, threshold: 1.33, exact: false, calibrated: false} would have "
        "fired. "
    )
    trace[2, 4] = 0.8
    told = closest_to_firing(explore, (), starts, trace)
    assert "was 0.8 of its thresholds (walker 1, step 5); thresholds 0.76 times as high" in told
    own.info["bayesel"]["trigger"]["kind"] = "all"
    told = closest_to_firing(explore, (), starts, trace)
    assert "step 5); it fires with thresholds 0.76 times as high at most. " in told
    assert closest_to_firing(explore, (), starts, trace[3:]) == ""


@pytest.mark.parametrize(("budget", "expected"), [(4, [3, 1]), (3, [3]), (2, [2])])
def test_stops_at_the_label_budget(tmp_path, budget, expected):
    changes = {"stop.max_labels": budget, "stop.max_rounds": 9}
    store, last = ended(write_campaign(tmp_path, changes))
    assert last == Ended(f"the budget of {budget} labels is spent")
    assert [r.picks for r in reports(store)] == [0, *expected]
    assert (
        reports(store)[-1].n_labels
        == len(settled(store.directory)) - 1  # beside the canary
        == budget
    )


def test_failed_calculations_count_towards_the_budget(tmp_path):
    changes = {
        "stop.max_labels": 3,
        "labelling.factory": "helpers.calculators:no_such_engine_works",
        "labelling.canary": False,
        "explore.steps": 60,
    }
    store, last = ended(write_campaign(tmp_path, changes))
    assert last == Ended("the budget of 3 labels is spent")
    assert [r.failed for r in reports(store)] == [0, 3]
    assert reports(store)[-1].n_labels == 0


def test_a_finished_campaign_does_nothing_when_run_again(copied):
    directory = copied.with_name("campaign")
    before = hashes(directory), [path.stat().st_mtime_ns for path in directory.rglob("*")]
    events = list(campaign(copied).run())
    assert events == [Ended("all 2 rounds are done")]
    assert (hashes(directory), [p.stat().st_mtime_ns for p in directory.rglob("*")]) == before


@pytest.mark.parametrize("becomes", ["kept", "gone", "torn"])
def test_a_model_does_not_depend_on_the_rows_that_are_kept(copied, finished, becomes):
    store = campaign(copied).store
    for name in ("DONE", "report.json", "model.npz"):
        (store.round_directory(2) / name).unlink()
    files = sorted((store.directory / "rows").iterdir())
    assert {path.name.partition("_")[0] for path in files} == {"rows"}
    for path in files:
        if becomes == "gone":
            path.unlink()
        elif becomes == "torn":
            path.write_bytes(path.read_bytes()[:-40])
    assert isinstance(list(campaign(copied).run())[-1], Ended)
    model = store.model_path(2).read_bytes()
    assert model == finished.model_path(2).read_bytes()


def test_opened_by_its_directory_alone(copied):
    reopened = Campaign.open(copied.with_name("campaign"))
    assert reopened.config == load_config(copied)
    assert list(reopened.run()) == [Ended("all 2 rounds are done")]


# seeds and configs


def test_same_seed_same_campaign(tmp_path, finished):
    store, _ = ended(write_campaign(tmp_path))
    assert_same_campaign(store, finished)


def test_another_seed_another_campaign(tmp_path, finished):
    store, _ = ended(write_campaign(tmp_path, {"seed": 2, "stop.max_rounds": 1}))
    assert not set(pick_ids(store)) & set(pick_ids(finished))


def test_rounds_do_not_repeat_each_other(finished):
    for walker in range(2):
        first, second = ([p.info["bayesel_value"] for p in finished.read_batch(k)] for k in (1, 2))
        assert first[walker] != second[walker]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data.energy_key": "E"}, ["data.energy_key"]),
        ({"seed": 3, "descriptor.totaldegree": 5}, ["descriptor.totaldegree", "seed"]),
        ({"labelling": "none"}, ["labelling"]),
        ({"data.test": None}, ["data.test"]),
        ({"weights": None}, ["weights"]),
    ],
)
def test_another_config_is_refused(copied, changes, named):
    before = hashes(copied.with_name("campaign"))
    write_config(copied.parent, changes)
    with pytest.raises(ConfigError, match="another config") as caught:
        campaign(copied)
    assert all(field in str(caught.value) for field in named)
    assert "explore.steps" not in str(caught.value)
    assert hashes(copied.with_name("campaign")) == before


def test_more_rounds_are_accepted_and_change_nothing_else(tmp_path, finished):
    path = write_campaign(tmp_path, {"stop.max_rounds": 1})
    store, _ = ended(path)
    assert store.completed_rounds() == 2
    write_config(tmp_path, {"stop": {"max_rounds": 2, "max_labels": 50}})
    store, last = ended(path)
    assert last.reason == "all 2 rounds are done"
    assert store.read_config()["stop"] == {"max_rounds": 2, "max_labels": 50, "max_failures": 5}
    assert_same_campaign(store, finished)


def test_threads_may_change(copied):
    write_config(copied.parent, {"threads": 2})
    assert list(campaign(copied).run()) == [Ended("all 2 rounds are done")]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"labelling.factory": "nowhere.at_all:EMT"}, r"nowhere\.at_all"),
        ({"data.e0s": "isolated"}, "e0s"),
        ({"data.e0s": {"Cu": 0.0}}, "e0s: no reference energy for Al"),
        ({"descriptor.elements": ["Cu", "Al", "Xx"]}, "Xx"),
    ],
    ids=["factory", "isolated", "e0s", "element"],
)
def test_a_start_that_fails_does_not_bind_the_directory(tmp_path, finished, mistake, message):
    """Nothing has been computed yet: the mended config is the campaign's config."""
    path = write_campaign(tmp_path, mistake)
    with pytest.raises(BayeselError, match=message):
        ended(path)
    write_config(tmp_path, {})
    first = next(event for event in campaign(path).run() if isinstance(event, RoundReport))
    assert first == finished.read_report(0)


# labels that fail


def test_failed_labels_are_set_aside(tmp_path):
    config = write_campaign(tmp_path, {"labelling.factory": "helpers.calculators:FragileEMT"})
    events = list(campaign(config).run())
    store = campaign(config).store
    asked = picks(store)
    fragile = [p for p in asked if p.symbols.count("Al") == 2]
    assert 0 < len(fragile) < len(asked)
    for pick in asked:
        assert set_aside(store.directory, pick) == (pick.symbols.count("Al") == 2)
        assert (label_of(store.directory, pick) is None) == set_aside(store.directory, pick)
    last = reports(store)[-1]
    assert sum(r.failed for r in reports(store)) == len(fragile)
    assert last.n_labels == len(asked) - len(fragile)
    assert last.n_train == 6 + last.n_labels
    details = [e.detail for e in events if isinstance(e, Progress) and e.stage == "label"]
    told = [d for d in details if "SCF cycle did not converge" in d]
    assert len(told) == len(fragile)
    assert structure_id(fragile[0]) in told[0]


def test_walkers_do_not_go_back_to_what_cannot_be_labelled(tmp_path):
    """The covariance of the next round knows it, though no label tells of it."""
    changes = {"labelling.factory": "helpers.calculators:FragileEMT", "stop.max_rounds": 1}
    store, _ = ended(write_campaign(tmp_path, changes))
    failed = [p for p in picks(store) if set_aside(store.directory, p)]
    assert failed
    before, after = (Surrogate.load(store.model_path(k)) for k in (0, 1))
    trigger = load_config(tmp_path / "config.yaml").explore.trigger
    for pick in failed:
        forces = after.calculator().get_forces(pick)
        scale = np.linalg.norm(forces, axis=1) + trigger.eps
        value = (after.uncertainty(pick).forces / scale).max()
        assert value < 0.3 * pick.info["bayesel_value"]
        assert after.energy_std(pick) < 0.3 * before.energy_std(pick)


def test_a_round_of_failures_only(tmp_path):
    changes = {
        "labelling.factory": "helpers.calculators:no_such_engine_works",
        "labelling.canary": False,
        "stop.max_rounds": 1,
    }
    store, last = ended(write_campaign(tmp_path, changes))
    zero, one = reports(store)
    assert (one.picks, one.failed, one.n_train) == (3, 3, 6)
    assert one.forces_rmse == zero.forces_rmse
    assert last.reason == "the one round is done"


def test_an_engine_that_always_fails_stops_the_campaign(tmp_path):
    """Nothing is lost, and once the engine works the failed calculations can be made again."""
    works = tmp_path / "works"
    changes = {
        "labelling.factory": "helpers.calculators:emt_once_there_is",
        "labelling.parameters": {"file": str(works)},
        "labelling.canary": False,
        "stop.max_failures": 2,
    }
    config = write_campaign(tmp_path, changes)
    for _ in range(2):  # the second time all that has failed is on record
        with pytest.raises(LabellingError, match=r"last 3 structures have all failed.*no file"):
            list(campaign(config).run())
    store = campaign(config).store
    assert store.completed_rounds() == 1
    works.touch()
    with pytest.raises(LabellingError, match="--retry-failed"):
        list(campaign(config).run())
    list(campaign(config).run(retry_failed=True))
    assert [report.failed for report in reports(store)] == [0, 0, 0]
    assert not list(store.directory.glob("labels/*/*.failed.json"))


def test_failures_are_counted_over_rounds(tmp_path):
    changes = {
        "labelling.factory": "helpers.calculators:no_such_engine_works",
        "labelling.canary": False,
        "stop.max_failures": 4,
    }
    config = write_campaign(tmp_path, changes)
    with pytest.raises(LabellingError, match=r"round 2: the last [456] structures"):
        list(campaign(config).run())
    assert [report.failed for report in reports(campaign(config).store)] == [0, 3]
    write_campaign(tmp_path, changes | {"stop.max_failures": None})
    assert ended(config)[1].reason == "all 2 rounds are done"


# walkers that explode


def overlapping():
    """Two atoms that touch, and two that nearly do; those on the same site are refused."""
    touching, near = copper(1), copper(2)
    touching.positions[1] = touching.positions[0] + [0.0, 0.0, 0.11]
    near.positions[1] = near.positions[0] + [0.0, 0.0, 0.15]
    return [touching, near]


EXPLOSIONS = {
    "large steps": {"explore.timestep_fs": 50.0},
    "huge steps": {"explore.timestep_fs": 100.0},
    "huge steps, no guards": {"explore.timestep_fs": 100.0, "explore.guards": GUARDS_OFF},
    "hot": {"explore.temperature_K": 1e6, "explore.guards": {"max_temperature_K": 1e6}},
    "strong bias": {"explore.tau_rel": None, "explore.tau": 1e6},
    "strong bias, no guards": {
        "explore.tau_rel": None,
        "explore.tau": 1e6,
        "explore.guards": GUARDS_OFF,
    },
    "strong relative bias": {
        "explore.tau_rel": 1e3,
        "explore.bias": {"force_max": 1e9, "max_excess_temperature": 1e9},
    },
    "strong relative variance": {
        "explore.tau_rel": 1e3,
        "explore.bias": {"kind": "variance", "force_max": 1e9, "max_excess_temperature": 1e9},
    },
}


@pytest.mark.parametrize("name", EXPLOSIONS)
def test_exploding_walkers_end_with_a_name(tmp_path, name):
    running = campaign(write_campaign(tmp_path, EXPLOSIONS[name] | {"stop.max_rounds": 1}))
    store = running.store
    known = {"nan", "close_contact", "force", "temperature", "calculator_error"}
    if name == "strong bias":  # before the first step
        with pytest.raises(ExplorationError, match=r"all walkers have failed.*step 0 \(force\)"):
            list(running.run())
        return
    *_, last = running.run()
    (_, report) = reports(store)
    assert last.reason
    assert set(report.walkers) <= known | {"finished", "running"}
    assert set(report.walkers) & known or report.picks == 3
    for pick in picks(store):
        assert np.isfinite(pick.positions).all()
        assert np.isfinite(pick.arrays["bayesel_force_std"]).all()


def test_overlapping_starts_end_with_a_name(tmp_path):
    config = write_campaign(tmp_path, {"explore.guards": GUARDS_OFF})
    write(tmp_path / "starts.extxyz", overlapping())
    store, last = ended(config)
    assert last.reason
    walkers = reports(store)[1].walkers
    assert "running" not in walkers or reports(store)[1].picks == 3


def test_a_sane_walker_goes_on_when_the_other_has_exploded(tmp_path):
    changes = {"stop.max_rounds": 1, "explore.guards": {"close_contact": None}}
    config = write_campaign(tmp_path, changes)
    write(tmp_path / "starts.extxyz", [overlapping()[1], alloy_cells(2, 0.02, 200)[0]])
    store, _ = ended(config)
    report = reports(store)[1]
    assert report.walkers[0] == "force"
    assert report.stopped[0] == "walker 0 stopped at step 0 (force): beyond guards.max_force"
    assert report.picks > 0
    assert {pick.info["bayesel_walker"] for pick in picks(store)} == {1}


def test_more_starts_than_walkers_are_used_in_turn(tmp_path):
    config = write_campaign(tmp_path, {"explore.walkers": 1, "explore.steps": 80})
    store, _ = ended(config)
    al_atoms = [{p.symbols.count("Al") for p in store.read_batch(k)} for k in (1, 2)]
    assert al_atoms == [{1}, {2}]


def test_a_cluster_and_a_crystal(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1, "explore.tau_rel": 0.1})
    cluster = Atoms("Cu3Al", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])
    write(tmp_path / "starts.extxyz", [cluster, alloy_cells(1, 0.02, 0)[0]])
    store, _ = ended(config)
    assert {bool(pick.pbc.any()) for pick in picks(store)} == {True, False}
    assert reports(store)[1].n_labels == 3


def test_without_a_test_set(tmp_path):
    store, _ = ended(write_campaign(tmp_path, {"data.test": None, "stop.max_rounds": 1}))
    assert [r.energy_rmse for r in reports(store)] == [None, None]
    assert store.read_parity(1) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": None},
        {"data.forces_key": None},
        {"explore.trigger": {"kind": "force", "threshold": 0.01}},
        {"explore.trigger": {"kind": "energy_per_atom", "threshold": 1e-4}},
        {"explore.tau_rel": None, "explore.tau": 0.0},
        {"data.e0s": {"Cu": 0.0, "Al": 0.0}},
        {"descriptor.order": 3, "descriptor.totaldegree": 4},
    ],
)
def test_variants(tmp_path, changes):
    changes = {"stop.max_rounds": 1, "explore.picks": 2, **changes}
    store, last = ended(write_campaign(tmp_path, changes))
    assert last.reason == "the one round is done"
    assert reports(store)[1].n_labels == reports(store)[1].picks > 0


def test_virials_are_labelled_and_fitted(tmp_path):
    config = write_campaign(tmp_path, {"data.virial_key": "REF_virial", "stop.max_rounds": 1})
    store, _ = ended(config)
    label = label_of(store.directory, picks(store)[0])
    expected = reference(label).info["REF_virial"]
    virial = -label.get_volume() * np.reshape(label.info["REF_stress"], (3, 3))
    np.testing.assert_allclose(virial, expected, atol=1e-6)
    fitted = final_model(store)
    assert fitted.properties == ("energy", "forces", "virial")
    predicted = -label.get_volume() * fitted.calculator().get_stress(label)
    voigt = expected[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    np.testing.assert_allclose(predicted, voigt, atol=0.05 * np.abs(voigt).max())


# labels by hand


def by_hand(folder, changes=None):
    """A campaign that waits for the labels of its first batch."""
    config = write_campaign(folder, {"labelling": "none", **(changes or {})})
    store, last = ended(config)
    assert last.awaiting == store.batch_path(1)
    return config, store


def answer(store, number=1, frames=None):
    """Put labels of a batch in place, computed as a user would."""
    batch = store.read_batch(number) if frames is None else frames
    write(store.by_hand_path(number), [reference(atoms) for atoms in batch], format="extxyz")


def test_labels_by_hand_give_the_same_campaign(tmp_path, finished):
    config, store = by_hand(tmp_path)
    assert store.completed_rounds() == 1
    assert len(store.read_batch(1)) == 3
    before = hashes(store.directory)
    _, last = ended(config)
    assert "3 structures wait" in last.reason
    assert str(store.by_hand_path(1)) in last.reason
    assert hashes(store.directory) == before
    answer(store)
    _, last = ended(config)
    assert last.awaiting == store.batch_path(2)
    assert store.completed_rounds() == 2
    assert store.read_report(1).n_labels == 3
    answer(store, 2)
    _, last = ended(config)
    assert last == Ended("all 2 rounds are done")
    assert pick_ids(store)[:3] == pick_ids(finished)[:3]
    first, *_, final = reports(store)
    assert final.forces_rmse < 0.5 * first.forces_rmse


def test_labels_by_hand_bit_by_bit(tmp_path):
    config, store = by_hand(tmp_path)
    batch = store.read_batch(1)
    answer(store, frames=batch[1:2])
    _, last = ended(config)
    assert "2 structures wait" in last.reason
    answer(store, frames=[batch[2], batch[0]])
    _, last = ended(config)
    assert last.awaiting == store.batch_path(2)
    assert store.read_report(1).n_labels == 3


def test_a_structure_given_up(tmp_path):
    config, store = by_hand(tmp_path, {"stop.max_rounds": 1})
    batch = store.read_batch(1)
    frames = [reference(atoms) for atoms in batch]
    frames[1] = batch[1].copy()
    frames[1].info["bayesel_failed"] = True
    write(store.by_hand_path(1), frames, format="extxyz")
    assert "bayesel_failed=T" in store.by_hand_path(1).read_text()
    _, last = ended(config)
    assert last.reason == "the one round is done"
    report = store.read_report(1)
    assert (report.picks, report.failed, report.n_labels) == (3, 1, 2)
    assert set_aside(store.directory, batch[1])


def test_a_larger_budget_while_a_batch_waits(tmp_path):
    """Whatever it does, the batch on disk must hold every structure that waits."""
    config, store = by_hand(tmp_path, {"stop.max_labels": 2})
    assert len(store.read_batch(1)) == 2
    write_config(tmp_path, {"labelling": "none", "stop.max_labels": 9})
    _, last = ended(config)
    assert last.awaiting == store.batch_path(1)
    assert f"{len(store.read_batch(1))} structures wait" in last.reason
    answer(store)
    _, last = ended(config)
    assert last.awaiting == store.batch_path(2)


# restart equals uninterrupted


class Killed(BaseException):
    """Stands for SIGKILL where the moment must be exact."""


def test_killed_at_every_kind_of_write(tmp_path, monkeypatch, finished):
    """Lives of one to eleven writes each, one after another, to the end; a beginning takes nine.

    The kill is injected in place of a move of a file, so that it falls between any
    two writes; real signals at random moments are below.
    """
    config = write_campaign(tmp_path)
    rng = np.random.default_rng(11)
    replace_file, lives = os.replace, 0
    for lives in range(1, 100):  # noqa: B007
        left = int(rng.integers(1, 12))

        def mortal(source, target):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            replace_file(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", mortal)
            try:
                store, _ = ended(config)
                break
            except Killed:
                continue
    assert lives > 8
    assert_same_campaign(store, finished)
    assert hashes(store.directory).keys() == hashes(finished.directory).keys()


@pytest.mark.parametrize("seed", range(2))
def test_left_at_random_events(tmp_path, finished, seed):
    """The generator is dropped after a random number of events, again and again."""
    config = write_campaign(tmp_path)
    rng = np.random.default_rng(seed)
    last = None
    while not isinstance(last, Ended):
        running = campaign(config).run()
        seen = list(islice(running, int(rng.integers(3, 60))))
        running.close()
        last = seen[-1]
    assert_same_campaign(campaign(config).store, finished)


def run_with_kills(config, moments):
    """Run to the end with a SIGKILL at each moment; returns how many struck.

    Also checks that no structure is computed again once its label is on disk.
    """
    directory = config.with_name("config_campaign")
    kills = 0
    for pattern, count, delay_s in moments:
        before, known = len(calls(config)), settled(directory)
        kills += kill_when(start(config), directory, pattern, count, delay_s)
        assert not known & {by_positions(directory)[line] for line in calls(config)[before:]}
    before, known = len(calls(config)), settled(directory)
    finish(start(config))
    assert not known & {by_positions(directory)[line] for line in calls(config)[before:]}
    return kills


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A campaign run by the command line without a kill."""
    config = counted(tmp_path_factory.mktemp("undisturbed"))
    result = bayesel("run", config)
    assert result.returncode == 0, result.stderr
    assert len(calls(config)) == len(set(calls(config))) == 6
    return Store(config.with_name("config_campaign"))


def without_settings(names):
    """File names, whatever the settings of the labels are called."""
    return {re.sub(r"\be[0-9a-f]{12}\b", "settings", name) for name in names}


def assert_survived(config, undisturbed, kills):
    store = Store(config.with_name("config_campaign"))
    assert_same_campaign(store, undisturbed)
    repeats = Counter(calls(config))
    assert len(repeats) == 6
    assert sum(repeats.values()) - 6 <= kills
    files = {name for name in hashes(store.directory) if "/." not in name}
    expected = hashes(undisturbed.directory).keys() | {"report.html"}
    assert without_settings(files) == without_settings(expected)


BOUNDED = {"explore.trust_bound": {"relative": 0.03}, "weights": {"high_energy": 0.1}}


@pytest.mark.slow
def test_killed_after_a_pick(tmp_path):
    """Against a campaign that was run in this process."""
    whole, _ = ended(write_campaign(tmp_path / "whole", {"labelling.canary": False}))
    config = counted(tmp_path)
    kills = run_with_kills(config, [("round_0001/picks/[0-9]*", 2, 0.0)])
    assert kills == 1
    assert_survived(config, whole, kills)


TURNS = {"explore.mode": "turns"}
STALE, JOINT = (
    {"explore.batch": "stale"},
    {"explore.batch": "joint", "explore.candidate_interval": 4, "explore.targets": "both"},
)
HERE = {"workers": {"labelling": {"kind": "here"}}}
PROCESSES = {"workers": {"walkers": {"kind": "processes", "n_workers": 2}}}
MODES = {
    "turns": TURNS,
    "one walker": {"explore.walkers": 1, "explore.steps": 80},
    "four walkers": {"explore.walkers": 4},
    "peak": {
        "explore.walkers": 4,
        "explore.pick": {"at": "peak", "patience": 4, "settling_fs": 0},
    },
    "trust": {"explore.walkers": 4, **BOUNDED},
    "trust in turns": TURNS | BOUNDED,
    "restart": {"explore.after_pick": "restart", **BOUNDED},
    "stale": STALE | BOUNDED,
    "stale in turns": STALE | TURNS | BOUNDED,
    "joint": JOINT | BOUNDED,
    "joint in turns": JOINT | TURNS | BOUNDED,
    "joint in processes": JOINT | BOUNDED | PROCESSES,
    "all defaults": {
        "explore.pick": {"settling_fs": 50.0},
        "explore.trust_bound": {},
        "weights": {},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_killed_after_a_pick_in_every_mode(tmp_path, mode):
    """SIGKILL of the command, against a campaign that was run in this process."""
    changes = MODES[mode] | {"stop.max_rounds": 1}
    whole, _ = ended(write_campaign(tmp_path / "whole", {**changes, **HERE}))
    config = write_campaign(tmp_path / "killed", changes)
    directory = tmp_path / "killed" / "config_campaign"
    assert kill_when(start(config), directory, "round_0001/picks/[0-9]*", 1, 0.0)
    finish(start(config))
    assert_same_campaign(Store(directory), whole)
    if mode != "all defaults":
        assert (whole.read_report(1).returns > 0) == ("explore.trust_bound" in changes)


def left_again_and_again(config, seed=5):
    """Run to the end in lives of a few events each, in lives as of other processes."""
    rng, last = np.random.default_rng(seed), None
    while not isinstance(last, Ended):
        running = campaign(config).run()
        last = list(islice(running, int(rng.integers(3, 30))))[-1]
        running.close()
    return campaign(config).store


@pytest.mark.parametrize(
    "mode",
    [
        "joint",
        pytest.param("joint in turns", marks=pytest.mark.slow),
        pytest.param("stale", marks=pytest.mark.slow),
        pytest.param("restart", marks=pytest.mark.slow),
    ],
)
def test_left_at_random_events_in_every_batch(tmp_path, mode):
    changes = MODES[mode] | {"stop.max_rounds": 1}
    whole, _ = ended(write_campaign(tmp_path / "whole", changes))
    store = left_again_and_again(write_campaign(tmp_path / "left", changes))
    assert_same_campaign(store, whole)
    assert whole.read_report(1).returns > 0


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A campaign of one round whose batch is chosen together, for frames of unbiased MD too."""
    config = write_campaign(tmp_path_factory.mktemp("joint"), JOINT | {"stop.max_rounds": 1})
    store, last = ended(config)
    assert last == Ended("the one round is done")
    return store


def test_left_between_the_last_barrier_and_the_choice(tmp_path, joint):
    config = write_campaign(tmp_path, JOINT | {"stop.max_rounds": 1})
    running = campaign(config)
    events = running.run()
    explored = (e for e in events if isinstance(e, Progress) and e.stage == "explore")
    last = next(event for event in explored if event.detail.startswith("0 of 4 walkers"))
    events.close()
    exploration = running.store.exploration(1)
    assert exploration.count_picks() == 0
    state, _ = exploration.load(running.store.read_input("starts") * 2)
    assert not state.alive
    assert f"{len(state.candidates)} candidates" in last.detail
    store, _ = ended(config)
    assert_same_campaign(store, joint)


@pytest.mark.parametrize("targets", ["candidates", "unbiased", "both"])
def test_a_joint_batch_aims_at_its_targets(tmp_path, joint, targets):
    """The picks are those of a design by hand, of the candidates that were saved."""
    store = joint
    if targets != "both":
        changes = JOINT | {"explore.targets": targets, "stop.max_rounds": 1}
        store, _ = ended(write_campaign(tmp_path, changes))
    starts = store.read_input("starts") * (1 if targets == "candidates" else 2)
    state, posterior = store.exploration(1).load(starts)
    walkers = np.array([candidate.walker for candidate in state.candidates])
    assert set(walkers) == set(range(len(starts)))
    unbiased = state.trace[:, 0] >= 2
    assert (state.trace[unbiased, 5] == 0.0).all()
    assert (state.trace[~unbiased, 5] > 0.0).any()
    core = Surrogate.load(store.model_path(0))
    np.testing.assert_array_equal(posterior.precision_factor, core.posterior.precision_factor)
    frames = [candidate.structure for candidate in state.candidates]
    aims = [f for f, k in zip(frames, walkers, strict=True) if targets != "unbiased" or k >= 2]
    chosen = select(frames, 3, "i_optimal", core=core, targets=aims)
    expected = [state.candidates[k].structure_id for k in chosen.indices]
    assert [pick.structure_id for pick in state.picks] == expected == pick_ids(store)
    assert store.read_report(1).n_labels == 3


EARLY = {
    "explore.early_refit": {"min_picks": 1, "soon_fs": 1000.0},
    "explore.picks": 9,
    "stop.max_rounds": 1,
    **BOUNDED,
}


@pytest.mark.slow
def test_a_batch_that_closes_early_does_so_after_a_kill_too(tmp_path):
    whole, last = ended(write_campaign(tmp_path / "whole", EARLY))
    assert last == Ended("the one round is done")
    report = whole.read_report(1)
    assert 1 <= report.picks == report.n_labels < 9
    assert "running" in report.walkers
    store = left_again_and_again(write_campaign(tmp_path / "left", EARLY))
    assert_same_campaign(store, whole)
    patient = {k: v for k, v in EARLY.items() if k != "explore.early_refit"}
    late, _ = ended(write_campaign(tmp_path / "late", patient))
    assert late.read_report(1).picks > report.picks
    assert pick_ids(late)[: report.picks] == pick_ids(whole)


def test_other_workers_are_accepted(copied):
    workers = {"kind": "dask", "scheduler": "tcp://nowhere:8786"}
    write_config(copied.parent, {"workers": {"walkers": workers}})
    assert list(campaign(copied).run()) == [Ended("all 2 rounds are done")]


def test_a_round_is_replayed_from_its_records(tmp_path):
    """Seeds, starts and the order of the picks give the round again by `run_walkers` alone."""
    config = write_campaign(tmp_path, {"explore.walkers": 4, "stop.max_rounds": 1})
    store, _ = ended(config)
    explore, batch = load_config(config).explore, store.read_batch(1)
    assert [pick.info["bayesel_pick"] for pick in batch] == [0, 1, 2]
    due = [(pick.info["bayesel_walker"], pick.info["bayesel_step"]) for pick in batch]
    surrogate = Surrogate.load(store.model_path(0))
    seeds = np.random.SeedSequence((0, 1)).spawn(4)
    rule = TauRule(explore.tau_rel, explore.tau_delay, explore.tau_max)
    mlip = surrogate.calculator()
    calculators = [BiasedCalculator(mlip, surrogate, tau_rel=rule) for _ in seeds]
    starts = (store.read_input("starts") * 2)[:4]
    options = [walker_options(explore, atoms) for atoms in starts]
    walkers = [
        run_walker(atoms, calculator, rng=np.random.default_rng(seed), **own)
        for atoms, calculator, seed, own in zip(starts, calculators, seeds, options, strict=True)
    ]
    again = []
    for steps in run_walkers(walkers, calculators):
        picked = [(k, step) for k, step in steps.items() if (k, step.step) in due]
        for _, step in picked:
            again.append(step.atoms)
            surrogate = surrogate.condition(canonical(step.atoms))
        for calculator in calculators if picked else ():
            calculator.set_surrogate(surrogate, keep_averages=True)
        if len(again) == len(due):
            break
    for ours, pick in zip(again, batch, strict=True):
        assert structure_id(canonical(ours)) == structure_id(pick)
    _, posterior = store.exploration(1).load(starts)
    np.testing.assert_array_equal(surrogate.posterior.precision_factor, posterior.precision_factor)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments(tmp_path, undisturbed, seed):
    config = counted(tmp_path)
    rng = np.random.default_rng([2018, seed])
    stages = [
        ("config.yaml", 1, 0.5),
        ("round_*/picks/[0-9]*", int(rng.integers(1, 3)), 0.05),
        ("labels/*/*.extxyz", int(rng.integers(1, 3)), 0.1),
        ("round_0001/model.npz", 1, 0.02),
        ("round_*/picks/[0-9]*", int(rng.integers(4, 6)), 0.05),
        ("labels/*/*.extxyz", 5, 0.1),
    ]
    moments = [(pattern, n, rng.uniform(0, longest)) for pattern, n, longest in stages]
    kills = run_with_kills(config, moments)
    assert kills >= 5
    assert_survived(config, undisturbed, kills)
