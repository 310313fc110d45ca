"""Walkers in processes and on Dask workers against the same walkers in this process."""

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import dask
import distributed
import numpy as np
import psutil
import pytest
from helpers.campaigns import assert_same_campaign, ended, write_campaign
from helpers.command_line import bayesel, kill_when, start
from helpers.lockstep import assert_same_states, explored, setup_for, started
from helpers.structures import cluster, copper, copper_training

from ase_bayesel import ACEDescriptor, Campaign, ForceTrigger, Surrogate, TauRule, fit_surrogate
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.exploration import explore_to_barriers
from ase_bayesel.campaign.exploration.dask_workers import dask_executor
from ase_bayesel.campaign.exploration.local import LocalExecutor
from ase_bayesel.campaign.exploration.pool_workers import pool_executor
from ase_bayesel.campaign.store import Store
from ase_bayesel.errors import WorkerError
from ase_bayesel.resources import LocalCluster, ProcessPool, RunningCluster, open_client
from ase_bayesel.surrogate.design import Noise

STARTS = [copper(1, 0.02, repeat=(1, 1, 2)), copper(2, 0.05), cluster("Cu4", 1)]
LIMIT = 12
RULE = TauRule(0.3, delay=3, memory=7)

pytestmark = pytest.mark.slow  # each process takes seconds to import torch


def make_setup(surrogate):
    return setup_for(surrogate, ForceTrigger(0.05), n_steps=40, tau_rel=RULE)


@contextmanager
def opened(folder):
    """What a worker loads; leaves a line with its process."""
    with open(folder / "opened", "a") as log:
        log.write(f"{os.getpid()}\n")
    yield make_setup(Surrogate.load(folder / "model.npz"))


@contextmanager
def deadly(folder, times):
    """The process is killed in the middle of a block, ``times`` times in all."""
    setup = make_setup(Surrogate.load(folder / "model.npz"))
    plan = setup.plans[0]

    def run(*args, **kwargs):
        for count, step in enumerate(plan.run(*args, **kwargs)):
            deaths = len(list(folder.glob("death*")))
            if count == 2 and deaths < times:
                (folder / f"death{deaths}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield step

    yield replace(setup, plans=(replace(plan, run=run),) * len(setup.plans))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fitted = fit_surrogate(copper_training()[:5], ACEDescriptor("Cu", totaldegree=8))
    replace(fitted, noise=Noise(0.1, 0.1, 0.1)).save(folder / "model.npz")
    return folder


@pytest.fixture(scope="module")
def surrogate(folder):
    return Surrogate.load(folder / "model.npz")


@pytest.fixture(scope="module")
def here(surrogate):
    """The states of the exploration in this process, one walker after the other."""
    setup = make_setup(surrogate)
    states, last = explored(setup, started(STARTS), LIMIT, executor=LocalExecutor(setup, False))
    assert len(states[-1].picks) > 3
    assert len(states) > 6
    return states, last


@pytest.fixture(scope="module")
def client():
    with open_client(LocalCluster(2)) as client:
        yield client


@pytest.fixture(params=["dask", "processes"])
def elsewhere(request, folder):
    """Opens an executor, given what its processes load and a name."""
    for old in (*folder.glob("death*"), *folder.glob("opened")):
        old.unlink()
    if request.param == "processes":
        return lambda open_setup, _: pool_executor(ProcessPool(2), open_setup)
    return partial(dask_executor, request.getfixturevalue("client"))


def test_same_as_in_this_process(folder, surrogate, here, elsewhere):
    """Every state bit for bit; the model is loaded once per worker."""
    with elsewhere(partial(opened, folder), "same") as executor:
        states, last = explored(make_setup(surrogate), started(STARTS), LIMIT, executor=executor)
    for ours, theirs in zip(states, here[0], strict=True):
        assert_same_states(ours, theirs)
    np.testing.assert_array_equal(
        last.posterior.precision_factor, here[1].posterior.precision_factor
    )
    pids = (folder / "opened").read_text().split()
    assert len(pids) == len(set(pids)) <= 2
    assert str(os.getpid()) not in pids


def test_a_lost_worker_is_made_up_for(folder, surrogate, here, elsewhere):
    with elsewhere(partial(deadly, folder, 2), "deadly") as executor:
        states, _ = explored(make_setup(surrogate), started(STARTS), LIMIT, executor=executor)
    assert len(list(folder.glob("death*"))) == 2
    assert_same_states(states[-1], here[0][-1])


def test_all_workers_lost_at_once(folder, surrogate, here, client):
    """The posterior goes with them, and the scheduler makes it again."""
    with dask_executor(client, partial(opened, folder), "all") as executor:
        setup, states = make_setup(surrogate), []
        for state, _ in explore_to_barriers(started(STARTS), surrogate, setup, executor, LIMIT):
            states.append(state)
            if len(states) == 2:
                for pid in client.run(os.getpid).values():
                    os.kill(pid, signal.SIGKILL)
    assert_same_states(states[-1], here[0][-1])


def test_a_block_that_kills_every_worker_is_an_error(folder, surrogate, client, elsewhere):
    client.cluster.scheduler.allowed_failures = 0
    with (
        elsewhere(partial(deadly, folder, 99), "fatal") as executor,
        pytest.raises(WorkerError, match=r"(several|\d) workers were lost") as caught,
    ):
        explored(make_setup(surrogate), started(STARTS[:1]), 9, executor=executor)
    assert caught.value.__notes__ == ["raised by walker 0"]


def test_an_error_of_a_walker_comes_home(folder, surrogate, elsewhere):
    gold = STARTS[0].copy()
    gold.symbols[0] = "Au"
    with (
        elsewhere(partial(opened, folder), "error") as executor,
        pytest.raises(Exception, match="Au") as caught,
    ):
        explored(make_setup(surrogate), started([STARTS[0], gold]), 4, executor=executor)
    assert "raised by walker 1" in caught.value.__notes__


def test_nothing_is_left_on_the_workers(folder, surrogate, client):
    def keys():
        found = client.run(lambda dask_worker: [*dask_worker.data, *dask_worker.plugins])
        return set().union(*found.values())

    before, deadline = keys(), time.monotonic() + 10
    with dask_executor(client, partial(opened, folder), "gone") as executor:
        explored(make_setup(surrogate), started(STARTS[:1]), 1, executor=executor)
        assert "gone" in keys()
    while keys() - before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nobody_answers():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(WorkerError, match="no Dask scheduler"),
        open_client(RunningCluster("tcp://127.0.0.1:9")),
    ):
        pass


# campaigns

PULLED = {
    "kind": "harmonic",
    "of": {"kind": "distance", "atoms": [0, 1]},
    "at": [[0, 2.6], [20, 2.9]],
    "k": 1.0,
}
FOUR = {"explore.walkers": 4, "explore.restraints": [PULLED], "stop.max_rounds": 1}
PROCESSES = FOUR | {"workers": {"walkers": {"kind": "processes", "n_workers": 2}}}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory):
    store, _ = ended(write_campaign(tmp_path_factory.mktemp("in_process"), FOUR))
    return store


def descendants(process):
    return psutil.Process(process.pid).children(recursive=True)


def test_a_campaign_in_two_processes(tmp_path, in_process):
    result = bayesel("run", write_campaign(tmp_path, PROCESSES))
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert_same_campaign(Store(tmp_path / "config_campaign"), in_process)


def test_a_campaign_on_a_running_cluster(tmp_path, in_process):
    pages = {"dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(2, threads_per_worker=1, memory_limit=0, **pages) as cluster:
        workers = {"kind": "dask", "scheduler": cluster.scheduler_address}
        store, _ = ended(write_campaign(tmp_path, FOUR | {"workers": {"walkers": workers}}))
        assert len(cluster.scheduler.workers) == 2  # it is left with them
    assert_same_campaign(store, in_process)


def test_killed_with_its_workers_and_taken_up_by_this_process(tmp_path, in_process):
    """SIGKILL of the command: workers die too; the campaign goes on with other workers."""
    config = write_campaign(tmp_path, PROCESSES)
    directory = tmp_path / "config_campaign"
    process = start(config)
    while not list(directory.glob("round_0001/picks/[0-9]*")):
        assert process.poll() is None
        time.sleep(0.01)
    workers = descendants(process)
    assert len(workers) >= 2
    assert kill_when(process, directory, "round_0001/picks/[0-9]*", 1, 0.0)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    write_campaign(tmp_path, FOUR)
    running = Campaign(load_config(config), directory)
    *_, last = running.run()
    assert last.reason == "the one round is done"
    assert_same_campaign(running.store, in_process)
