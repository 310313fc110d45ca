"""Refits and features as tasks on other resources."""

import os
import signal
import sys
import time
import weakref
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from helpers.campaigns import ended, write_campaign
from helpers.mace_models import needs_mace, save_model, tiny_mace
from helpers.processes import children, wait_for
from helpers.refits import E0S, KEYS, TRAIN, finished, weights
from helpers.structures import copper_training

from ase_bayesel import Campaign
from ase_bayesel.campaign import fit_rows as models
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.refit import (
    CommandRefitter,
    MACERefitter,
    RefitTask,
    elsewhere,
    refit_elsewhere,
)
from ase_bayesel.campaign.refit.elsewhere import run_refit
from ase_bayesel.campaign.store import Store
from ase_bayesel.errors import RefitError, TerminatedError
from ase_bayesel.resources import ProcessPool, open_executor
from ase_bayesel.resources.base import MAX_DEATHS
from ase_bayesel.surrogate import design

SLOW = """
import sys, time
from pathlib import Path
folder, output = map(Path, sys.argv[1:])
for k in range(4):
    done = folder / ("step" + str(k))
    print(k, done.exists(), flush=True)
    if not done.exists():
        time.sleep(0.4)
    done.touch()
output.write_text("new")
"""


@pytest.fixture
def task(tmp_path):
    (tmp_path / "last.txt").write_text("old")
    directory = tmp_path / "refit"
    return RefitTask(copper_training(), 2, KEYS, E0S, tmp_path / "last.txt", directory, seed=5)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(elsewhere, "POLL_S", 0.05)


def command(code):
    return CommandRefitter([sys.executable, "-c", code, "{directory}", "{output}"])


def kill_worker():
    """SIGKILL for the one worker of this process's pool."""
    supervised = [p for p in children(os.getpid()) if "pool_worker.py" in command_line(p)]
    (worker,) = (pid for pid in supervised if "supervise.py" not in command_line(pid))
    os.kill(worker, signal.SIGKILL)


def command_line(pid):
    with open(f"/proc/{pid}/cmdline") as handle:
        return handle.read()


@pytest.mark.slow
def test_a_refit_elsewhere(task, quick):
    progress, model = finished(refit_elsewhere(ProcessPool(1), command(SLOW), task))
    assert model.read_text() == "new"
    assert len(progress) >= 1
    assert progress[-1].detail.endswith("False")


@pytest.mark.slow
def test_a_lost_worker_and_the_refit_goes_on(task, quick):
    steps = refit_elsewhere(ProcessPool(1), command(SLOW), task)
    next(steps)
    wait_for(lambda: (task.directory / "step1").exists())
    kill_worker()
    _, model = finished(steps)
    assert model.read_text() == "new"
    log = (task.directory / "refit.log").read_text().splitlines()
    assert log[-4:-2] == ["0 True", "1 True"]


@pytest.mark.slow
def test_a_refit_that_kills_its_workers_is_an_error(task, quick):
    with pytest.raises(RefitError, match=r"workers were lost.*last good model is .*last\.txt"):
        finished(refit_elsewhere(ProcessPool(1), Deadly(), task))


class Deadly:
    """A refitter that takes its worker down."""

    def refit(self, task):
        os.kill(os.getpid(), signal.SIGKILL)
        yield


def test_an_error_comes_home(task, quick):
    with pytest.raises(RefitError, match="left no"):
        finished(refit_elsewhere(ProcessPool(1), command("print(1)"), task))


def test_left_early_nothing_goes_on(task, quick):
    steps = refit_elsewhere(ProcessPool(1), command(SLOW), task)
    next(steps)
    steps.close()
    time.sleep(0.5)
    left = sorted(path.name for path in task.directory.glob("step*"))
    time.sleep(1.0)
    assert sorted(path.name for path in task.directory.glob("step*")) == left


@pytest.mark.slow
def test_a_campaign_with_refits_and_features_elsewhere(tmp_path, monkeypatch):
    """The same picks and, within rounding, the same models as in one process."""
    monkeypatch.setattr(design, "BATCH_ATOMS", 5)
    monkeypatch.setattr(design, "CHUNK_ATOMS", 10)
    monkeypatch.setattr(models, "CHUNKS_AHEAD", 2)
    stores = []
    for name in ("here", "processes"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "scale.txt").write_text("0.9")
        potential = {
            "kind": "import",
            "factory": "helpers.calculators:ScaledEMT",
            "model": "scale.txt",
        }
        train = [sys.executable, "-c", TRAIN, "{train}", "{model}", "{output}"]
        resource = {"kind": name} | ({} if name == "here" else {"n_workers": 2})
        changes = {
            "stop.max_rounds": 1,
            "potential": potential,
            "refit": {"kind": "command", "command": train},
            "workers": {"refit": resource, "features": resource},
        }
        store, _ = ended(write_campaign(folder, changes))
        stores.append(store)
    here, processes = stores
    assert isinstance(here, Store)
    assert here.potential_path(1).read_text() == processes.potential_path(1).read_text()
    for number in (0, 1):
        ours, theirs = (np.load(store.model_path(number)) for store in (here, processes))
        for key in ours.files:
            if ours[key].dtype.kind == "f":
                np.testing.assert_allclose(theirs[key], ours[key], rtol=1e-6, atol=1e-9)


@needs_mace
@pytest.mark.slow
def test_mace_goes_on_where_its_worker_was_lost(task, tmp_path):
    """In the second segment; the weights are those of a training that was left alone."""
    save_model(tiny_mace(["Cu"]), tmp_path / "start.model")
    task = replace(task, model=tmp_path / "start.model")
    refitter = MACERefitter(max_epochs=4, checkpoint_epochs=2, energy_weight=1.0)
    _, model = finished(refitter.refit(replace(task, directory=tmp_path / "alone")))
    steps = refit_elsewhere(ProcessPool(1), refitter, task)
    while not (task.directory / "segment_0001").exists():
        next(steps)
    wait_for((task.directory / "running").exists)
    kill_worker()
    _, again = finished(steps)
    assert weights(again) == weights(model)


ALONE = """
import sys, time
from pathlib import Path
folder, output = map(Path, sys.argv[1:])
(folder / "here").open("x").close()
time.sleep(0.4)
(folder / "here").unlink()
output.write_text("new")
"""


def test_two_refits_of_one_directory_take_turns(task, quick):
    """The second of a campaign that was started again while the first goes on somewhere."""
    with open_executor(ProcessPool(2)) as executor:
        futures = [executor.submit(run_refit, command(ALONE), task) for _ in range(2)]
        assert [future.result().read_text() for future in futures] == ["new", "new"]
    assert not task.directory.with_suffix(".lock").exists()


ENDED = """
import os, sys
from pathlib import Path
folder, output = map(Path, sys.argv[1:])
if not (folder / "half").exists():
    (folder / "half").touch()
    os.kill(os.getpid(), 15)
output.write_text("new")
"""


def test_a_training_that_is_terminated_goes_on(task, quick):
    """As where a job is cancelled, and its programs get the signal before the worker."""
    _, model = finished(refit_elsewhere(ProcessPool(1), command(ENDED), task))
    assert model.read_text() == "new"


def test_but_not_for_ever(task, quick):
    code = "import os; os.kill(os.getpid(), 15)"
    with pytest.raises(TerminatedError):
        finished(refit_elsewhere(ProcessPool(1), command(code), task))
    assert len((task.directory / "refit.log").read_text().splitlines()) == MAX_DEATHS


def test_the_parts_of_a_fit_are_not_held_all_at_once(tmp_path, monkeypatch):
    """Nor what was made of them."""
    held, most = weakref.WeakSet(), [0]

    class Here:
        def submit(self, function, *args):
            future = Future()
            future.set_result(function(*args))
            held.add(future)
            most[0] = max(most[0], len(held))
            return future

    monkeypatch.setattr(design, "CHUNK_ATOMS", 5)
    monkeypatch.setattr(design, "BATCH_ATOMS", 5)
    monkeypatch.setattr(models, "CHUNKS_AHEAD", 2)
    monkeypatch.setattr(models, "open_executor", lambda resource: nullcontext(Here()))
    workers = {"features": {"kind": "processes"}}
    campaign = Campaign(
        load_config(write_campaign(tmp_path, {"workers": workers})), tmp_path / "campaign"
    )
    report = next(event for event in campaign.run() if isinstance(event, RoundReport))
    assert report.n_train == 6
    assert most[0] <= 3
