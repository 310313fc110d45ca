"""Walkers that end by an error: named, with what the calculator said, and never an empty round."""

import json

import numpy as np
import pytest
import yaml
from helpers.campaigns import campaign, ended, write_campaign
from helpers.command_line import assert_refused, call
from helpers.faulty import NOT_FINITE, RAISED, WRONG, FaultyEMT
from helpers.structures import alloy_cells, reference

from ase_bayesel import (
    ACEDescriptor,
    BiasedCalculator,
    Campaign,
    fit_surrogate,
    load_config,
    run_walker,
)
from ase_bayesel.bias.unbiased import UnbiasedCalculator
from ase_bayesel.campaign.exploration.trace import endings_of
from ase_bayesel.cli.stopping import StopRequested, stop_requests
from ase_bayesel.errors import ExplorationError, ResultError
from ase_bayesel.io.failures import MOST_CHARACTERS, is_failure, reason_of


@pytest.fixture(scope="module")
def surrogate():
    frames = [reference(atoms) for atoms in alloy_cells(6, 0.05, 0)]
    descriptor = ACEDescriptor(["Cu", "Al"], order=2, totaldegree=4, cutoff=4.5)
    return fit_surrogate(frames, descriptor, "REF_energy", "REF_forces", e0s="average")


def walk(calculator, **options):
    start, rng = alloy_cells(1, 0.05, 3)[0], np.random.default_rng(0)
    return list(run_walker(start, calculator, n_steps=4, temperature_K=300.0, rng=rng, **options))


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("fault", [*RAISED, *(f for f in WRONG if not f.startswith("stress"))])
def test_every_fault_is_a_status_with_its_message(surrogate, fault, after):
    biased = BiasedCalculator(FaultyEMT(fault, after), surrogate, tau_rel=0.1)
    for calculator in (biased, UnbiasedCalculator(FaultyEMT(fault, after))):
        steps = walk(calculator)
        assert [step.status for step in steps[:-1]] == ["running"] * (len(steps) - 1)
        assert steps[-1].status == "calculator_error"
        message = steps[-1].message
        assert 0 < len(message) <= MOST_CHARACTERS
        if fault in RAISED and fault not in ("mute", "exit-code"):
            assert "no licence" in message
        elif fault.split("-")[0] in ("energy", "forces"):
            assert fault.split("-")[0] in message
        assert all(step.message == "" for step in steps[:-1])


@pytest.mark.parametrize("fault", NOT_FINITE)
def test_what_is_not_finite(surrogate, fault):
    calculator = BiasedCalculator(FaultyEMT(fault, 3), surrogate, tau=0.1)
    assert walk(calculator)[-1].status == "nan"


def test_rollbacks_have_the_message(surrogate):
    calculator = BiasedCalculator(FaultyEMT("runtime", 3), surrogate, tau=0.1)
    last = walk(calculator, max_rollbacks=2)[-1]
    assert last.driver.rollbacks == 2
    assert (last.status, last.message) == ("calculator_error", "RuntimeError: no licence")


def test_interruptions(pythons_handler):
    assert not is_failure(GeneratorExit())
    assert not is_failure(KeyboardInterrupt())
    with stop_requests():  # a signal raises no plain KeyboardInterrupt here
        assert is_failure(KeyboardInterrupt())
        assert not is_failure(StopRequested())
    assert is_failure(SystemExit(0))
    assert reason_of(SystemExit()) == "SystemExit"
    assert reason_of(ValueError("a" * 10**6)).endswith("a" * 100)


@pytest.mark.parametrize(
    ("walkers", "failed"),
    [
        ([(9, "finished", ""), (3, "running", "")], []),
        ([(0, "force", ""), (3, "force", "")], [True, False]),
        ([(5, "calculator_error", "boom"), (5, "nan", ""), (5, "melted", "")], [True, True, False]),
    ],
)
def test_which_endings_are_failures(walkers, failed):
    assert [ending.failed for ending in endings_of(walkers)] == failed


def with_potential(folder, changes=None, **parameters):
    potential = {
        "kind": "import",
        "factory": "helpers.faulty:DyingEMT",
        "parameters": {"file": str(folder / "dies"), **parameters},
    }
    usual = {"potential": potential, "stop.max_rounds": 1, "data.test": None}
    return write_campaign(folder, {**usual, **(changes or {})})


@pytest.mark.parametrize("after", [0, 6])
@pytest.mark.parametrize("changes", [{}, {"explore.mode": "turns"}, {"explore.batch": "joint"}])
def test_a_round_in_which_all_walkers_failed(tmp_path, after, changes):
    high = {"explore.trigger.threshold": 1e3, "explore.candidate_interval": 40} | changes
    config = with_potential(tmp_path, high, after=after)
    running = campaign(config)
    (tmp_path / "dies").write_text("")
    with pytest.raises(ExplorationError, match="round 1: all walkers have failed") as caught:
        list(running.run())
    store = running.store
    assert str(caught.value).count("RuntimeError: no licence") == 2
    assert store.completed_rounds() == 1
    assert not store.batch_path(1).exists()
    endings = store.exploration(1).read_endings()
    assert [ending.message for ending in endings] == ["RuntimeError: no licence"] * 2

    (tmp_path / "dies").unlink()
    settings = yaml.safe_load(config.read_text())
    settings["explore"]["steps"] = 50  # that may be what was wrong
    config.write_text(yaml.safe_dump(settings))
    list(campaign(config).run())
    assert set(store.read_report(1).walkers) == {"finished"}
    assert store.read_report(1).stopped == ()
    assert (store.directory / "round_0001_empty_1" / "explore.npz").exists()


def test_what_the_commands_say(tmp_path):
    config = with_potential(tmp_path)
    Campaign(load_config(config), tmp_path / "config_campaign")
    (tmp_path / "dies").write_text("")
    for _ in range(2):
        assert_refused(call("run", config), "walker 0 stopped at step 0", "no licence")
    shown = call("status", config)
    assert shown.exit_code == 0
    assert "round 1: all walkers have failed, and nothing was picked" in shown.output
    assert "round 1: walker 1 stopped at step 0 (calculator_error)" in shown.output


def test_some_walkers_fail(tmp_path):
    config = with_potential(tmp_path, symbols=["Al2Cu2"])
    running = campaign(config)
    (tmp_path / "dies").write_text("")
    list(running.run())
    report = running.store.read_report(1)
    (told,) = report.stopped
    assert "(calculator_error): RuntimeError: no licence" in told
    assert report.picks > 0
    directory = running.store.directory
    assert told in call("status", config, "-d", directory).output.replace("\n", "")
    assert call("report", config, "-d", directory).exit_code == 0
    assert told.split(": ")[-1] in (directory / "report.html").read_text()
    content = json.loads((directory / "round_0001" / "report.json").read_text())
    del content["stopped"]  # as of an earlier release
    (directory / "round_0001" / "report.json").write_text(json.dumps(content))
    assert running.store.read_report(1).stopped == ()


def test_nothing_triggered_is_no_failure(tmp_path):
    config = write_campaign(tmp_path, {"explore.trigger.threshold": 1e3, "stop.max_rounds": 2})
    _, last = ended(config)
    assert last.reason.startswith("nothing triggered in round 1")


def test_the_potential_on_the_test_set(tmp_path):
    config = with_potential(tmp_path, {"data.test": "test.extxyz"})
    running = campaign(config)
    (tmp_path / "dies").write_text("")
    with pytest.raises(ResultError, match=r"test frame 0: the potential fails .*no licence"):
        list(running.run())
