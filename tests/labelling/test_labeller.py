"""Many labels on real executors: nothing twice, nothing lost, failures set aside."""

from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
from helpers.campaigns import calls, write_campaign
from helpers.structures import copper

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.explore_round import Saving
from ase_bayesel.errors import (
    ConfigError,
    LostTaskError,
    MissingProgramError,
    TerminatedError,
    WorkerError,
)
from ase_bayesel.labelling.engines import ImportedEngine, ReferenceResult
from ase_bayesel.labelling.labeller import MAX_TERMINATED, Labeller
from ase_bayesel.labelling.reference import Reference
from ase_bayesel.labelling.store import Label
from ase_bayesel.labelling.task import is_settled
from ase_bayesel.resources import Here, ProcessPool, open_executor
from ase_bayesel.structures.identity import structure_id

ELEMENTS = ["Cu"]
STRUCTURES = [copper(k) for k in range(5)]
POOL = partial(open_executor, ProcessPool(2))
HERE = partial(open_executor, Here())


def reference(tmp_path, fallbacks=(), factory="helpers.calculators:CountingEMT", **parameters):
    parameters = {"log": str(tmp_path / "calls.log"), **parameters}
    engine = ImportedEngine(parameters, tuple(fallbacks), factory)
    return Reference(engine, ("energy", "forces"), tmp_path / "labels")


def all_ended(labeller):
    found = []
    while labeller.n_running:
        found += labeller.ended(0.5)
    return found


@pytest.mark.parametrize("executor", [HERE, POOL], ids=["here", "pool"])
def test_everything_is_labelled_once(tmp_path, executor):
    given = reference(tmp_path)
    with Labeller(given, executor) as labeller:
        labeller.submit(STRUCTURES[:3])
        labeller.submit(STRUCTURES)
        outcomes = all_ended(labeller)
        assert (labeller.n_done, labeller.n_asked) == (5, 5)
    assert {one.structure_id for one in outcomes} == {structure_id(a) for a in STRUCTURES}
    assert all(one.ok for one in outcomes)
    assert len(calls(tmp_path / "config.yaml")) == 5
    with Labeller(given, pytest.fail) as labeller:
        labeller.submit(STRUCTURES)
        assert (labeller.n_done, labeller.n_running) == (5, 0)
    assert (tmp_path / "labels" / "settings" / f"{given.settings(ELEMENTS)[0]}.json").is_file()


def test_labelling_does_not_wait(tmp_path):
    """Neither when it is asked for labels nor when it is asked what has ended."""
    waiting = reference(tmp_path, (), "helpers.calculators:WaitingEMT", file=str(tmp_path / "go"))
    with Labeller(waiting, POOL) as labeller:
        labeller.submit(STRUCTURES[:2])
        assert labeller.ended() == []
        assert labeller.n_running == 2
        (tmp_path / "go").touch()
        assert len(all_ended(labeller)) == 2


def test_two_campaigns_compute_a_label_once(tmp_path):
    """Two labellers with workers of their own on one directory, at the same time."""
    given = reference(tmp_path, delay_s=0.2)
    with Labeller(given, POOL) as one, Labeller(given, POOL) as other:
        one.submit(STRUCTURES)
        other.submit(STRUCTURES[::-1])
        assert len(all_ended(one)) == len(all_ended(other)) == 5
    assert len(calls(tmp_path / "config.yaml")) == 5


@pytest.mark.slow
def test_a_calculation_that_kills_its_workers_has_failed(tmp_path):
    given = reference(tmp_path, factory="helpers.calculators:DeadlyEMT")
    with Labeller(given, POOL) as labeller:
        labeller.submit(STRUCTURES[:1])
        (outcome,) = all_ended(labeller)
    assert not outcome.ok
    assert "3 workers were lost" in outcome.reason
    assert is_settled(given.store, given.settings(ELEMENTS), structure_id(STRUCTURES[0]))


@pytest.mark.slow
def test_after_the_death_of_its_workers_the_next_attempt_is_made(tmp_path):
    given = reference(tmp_path, [{"harmless": True}], "helpers.calculators:DeadlyEMT")
    with Labeller(given, POOL) as labeller:
        labeller.submit(STRUCTURES[:1])
        (outcome,) = all_ended(labeller)
    assert outcome.ok
    first, second = given.settings(ELEMENTS)
    assert given.store.failed(outcome.structure_id, first)
    assert given.store.load(outcome.structure_id, second) is not None


class Scripted:
    """An executor whose tasks end as told: a fault of the machinery at a given moment."""

    def __init__(self, outcomes):
        self.outcomes = list(outcomes)

    def submit(self, function, *args):
        future = Future()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(function(*args))
        return future


def scripted(*outcomes):
    return partial(nullcontext, Scripted(outcomes))


def test_a_terminated_calculation_is_started_again(tmp_path):
    with Labeller(reference(tmp_path), scripted(TerminatedError("by a signal"), None)) as labeller:
        labeller.submit(STRUCTURES[:1])
        assert labeller.ended() == []
        (outcome,) = labeller.ended()
        assert outcome.ok


def test_but_not_for_ever(tmp_path):
    ends = [TerminatedError("by a signal")] * (MAX_TERMINATED + 1)
    with Labeller(reference(tmp_path), scripted(*ends)) as labeller:
        labeller.submit(STRUCTURES[:1])
        with pytest.raises(TerminatedError):
            all_ended(labeller)


@pytest.mark.parametrize("labelled", [True, False])
def test_workers_are_lost_after_the_structure_was_settled(tmp_path, labelled):
    """On the way home, or by another campaign that has seen the same deaths."""
    given = reference(tmp_path)
    (settings,) = given.settings(ELEMENTS)
    values = ReferenceResult(-1.0) if labelled else None
    with Labeller(given, scripted(LostTaskError("lost"))) as labeller:
        labeller.submit(STRUCTURES[:1])
        given.store.save(Label(STRUCTURES[0], settings, "EMT", values, "deadly"))
        (outcome,) = labeller.ended()
    assert outcome.ok == labelled


@pytest.mark.parametrize("error", [MissingProgramError, ConfigError, WorkerError])
def test_what_is_wrong_with_the_machinery_is_raised_and_not_recorded(tmp_path, error):
    given = reference(tmp_path)
    with Labeller(given, scripted(error("why"))) as labeller:
        labeller.submit(STRUCTURES[:1])
        with pytest.raises(error, match="why") as caught:
            labeller.ended()
    assert structure_id(STRUCTURES[0]) in caught.value.__notes__[0]
    assert not is_settled(given.store, given.settings(ELEMENTS), structure_id(STRUCTURES[0]))
    assert issubclass(LostTaskError, WorkerError)


def test_the_executor_is_opened_when_it_is_needed_and_closed(tmp_path):
    told = []

    @contextmanager
    def opened():
        told.append("opened")
        with HERE() as executor:
            yield executor
        told.append("closed")

    with Labeller(reference(tmp_path), opened) as labeller:
        assert told == []
        labeller.submit(STRUCTURES[:2])
        assert told == ["opened"]
    assert told == ["opened", "closed"]


def test_an_error_of_the_labelling_saves_the_walkers_before_the_lock_is_left(tmp_path, monkeypatch):
    """An iteration that is only closed by whoever forgets the error would save much later."""
    told = []

    def failing(self, timeout_s=0.0):
        told.append("looked")
        if len(told) == 4:
            raise MissingProgramError("gone")
        return []

    def save(self, *state):
        told.append("saved while locked" if (self.store.directory / "lock").exists() else "late")

    monkeypatch.setattr(Labeller, "ended", failing)
    monkeypatch.setattr(Saving, "save", save)
    never = {"explore.trigger.threshold": 1e9, "explore.steps": 1000, "labelling.canary": False}
    config = write_campaign(tmp_path, never)
    running = Campaign(load_config(config), tmp_path / "campaign").run()
    with pytest.raises(MissingProgramError) as caught:
        list(running)
    assert str(caught.value) == "gone"
    assert told[-1] == "saved while locked"
