"""Tasks in the jobs of a real SLURM of one node."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import as_completed, wait
from dataclasses import replace

import pytest
from helpers import slurm
from helpers import worker_tasks as tasks
from helpers.campaigns import assert_same_campaign, ended, write_campaign
from helpers.command_line import ENVIRONMENT
from helpers.processes import alive, pids_in, wait_for
from helpers.slurm import ONE

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Progress
from ase_bayesel.errors import WorkerError
from ase_bayesel.resources import jobs, open_executor

pytestmark = pytest.mark.slow

TWO = replace(ONE, jobs=2)


@pytest.fixture(scope="module")
def node():
    if why := slurm.why_not():
        pytest.skip(why)
    with slurm.running_slurm():
        yield


@pytest.fixture
def queue(node, monkeypatch, tmp_path):
    """A folder for the tasks, beside an empty queue that is asked often; jobs write there too."""
    monkeypatch.setattr(jobs, "QUEUE_S", 1.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    wait_for(lambda: slurm.jobs() == {})
    yield tmp_path / "work"
    assert set(slurm.jobs().values()) <= {"COMPLETING"}


def test_tasks_run_in_jobs(queue):
    """Jobs are asked for when there is something to do."""
    with open_executor(replace(TWO, log_directory=queue / "logs")) as executor:
        time.sleep(2 * jobs.LOOK_S)
        assert slurm.jobs() == {}
        number = executor.submit(tasks.job).result(60)
        assert list(slurm.jobs()) == [number]
        (key,) = (queue / "logs").glob(".dask_key_*")
        assert key.stat().st_mode & 0o077 == 0
        pair = [executor.submit(tasks.meet, queue, 2) for _ in range(2)]
        assert len({future.result(120) for future in as_completed(pair, 120)}) == 2
        assert len(slurm.jobs()) == 2
    told = next((queue / "logs").glob("*.err")).read_text()
    assert "tls://" in told
    assert "tcp://" not in told
    assert not key.exists()


def test_processes_of_a_job(queue):
    """And directives that override what dask-jobqueue writes: two tasks for MPI."""
    resource = replace(ONE, processes=2, directives=("--ntasks=2", "--cpus-per-task=1"))
    with open_executor(resource) as executor:
        pair = [executor.submit(tasks.meet, queue, 2) for _ in range(2)]
        assert len({future.result(120) for future in pair}) == 2
        assert executor.submit(os.getenv, "SLURM_NTASKS").result(60) == "2"
        assert len(slurm.jobs()) == 1


def test_a_killed_worker_is_made_up_for(queue):
    with open_executor(ONE) as executor:
        assert executor.submit(tasks.deadly, queue, 2).result(90) == "survived 2"


def test_a_poisonous_task_is_given_up(queue):
    with open_executor(ONE) as executor:
        poison = executor.submit(tasks.deadly, queue, 99)
        with pytest.raises(WorkerError, match="workers were lost"):
            poison.result(90)
        assert executor.submit(abs, -2).result(60) == 2


def test_a_cancelled_job_is_replaced(queue):
    """The same while it runs and while it waits; every task ends."""
    with open_executor(replace(TWO, cores=slurm.CPUS)) as executor:
        futures = [executor.submit(tasks.logged, k, 1.5, queue) for k in range(8)]
        wait_for(lambda: sorted(slurm.jobs().values()) == ["PENDING", "RUNNING"])
        first = dict(slurm.jobs())
        wait_for(lambda: any(queue.iterdir()))
        slurm.cancel(*first)
        wait_for(lambda: len(set(slurm.jobs()) - set(first)) == 2)
        assert wait(futures, 90).not_done == set()
    done = [(queue / str(k)).read_text().splitlines().count("done") for k in range(8)]
    assert done == [1] * 8


def test_a_task_that_outlives_its_jobs_is_given_up(queue):
    """Others go on."""
    with open_executor(ONE) as executor:
        endless = executor.submit(tasks.nap, 600.0, queue)
        for k in range(3):
            wait_for(lambda k=k: len(list(queue.iterdir())) == k + 1, 60)
            time.sleep(2 * jobs.LOOK_S)
            slurm.cancel(*slurm.jobs())
        with pytest.raises(WorkerError, match=r"lost|jobs have ended during"):
            endless.result(60)
        assert executor.submit(abs, -2).result(60) == 2


def test_a_job_that_runs_a_program_is_cancelled(queue):
    """The program dies with the job."""
    with open_executor(ONE) as executor:
        executor.submit(tasks.program, queue)
        programs = pids_in(queue, 2)
        (number,) = slurm.jobs()
        slurm.cancel(number)
        wait_for(lambda: not any(map(alive, programs)), 40)


def test_at_the_end_no_job_is_left(queue):
    with open_executor(ONE) as executor:
        running = executor.submit(tasks.program, queue)
        programs = pids_in(queue, 2)
    wait_for(lambda: slurm.jobs() == {} and not any(map(alive, programs)), 40)
    assert running.done()


def test_idle_jobs_end(queue, monkeypatch):
    monkeypatch.setattr(jobs, "IDLE_S", 2.0)
    with open_executor(TWO) as executor:
        wait([executor.submit(tasks.nap, 1.0) for _ in range(4)], 60)
        wait_for(lambda: slurm.jobs() == {})
        assert executor.submit(abs, -2).result(60) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prologue": ("exit 1",)}, "slurm: jobs end before a worker starts"),
        ({"queue": "nosuch"}, "slurm: no job can be submitted: .*partition"),
    ],
)
def test_jobs_that_give_no_worker(queue, changes, message):
    with open_executor(replace(ONE, **changes, log_directory=queue / "logs")) as executor:
        futures = [executor.submit(abs, -n) for n in range(3)]
        for future in futures:
            with pytest.raises(WorkerError, match="(?s)" + message):
                future.result(60)


def test_killed_with_sigkill(queue):
    """Running jobs end within seconds, with their programs."""
    code = DRIVER.format(folder=str(queue))
    (queue / "driver.py").write_text(code)
    driver = subprocess.Popen([sys.executable, str(queue / "driver.py")], env=environment())
    programs = pids_in(queue, 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    began = time.monotonic()
    wait_for(lambda: slurm.jobs() == {} and not any(map(alive, programs)), 90)
    print(f"gone after {time.monotonic() - began:.1f} s")


DRIVER = """
from pathlib import Path
from helpers import worker_tasks as tasks
from ase_bayesel.resources import open_executor
from helpers.slurm import ONE

with open_executor(ONE) as executor:
    executor.submit(tasks.program, Path({folder!r})).result()
"""


def environment():
    """With the settings of the running SLURM."""
    return ENVIRONMENT | {"SLURM_CONF": os.environ["SLURM_CONF"]}


def test_a_campaign_whose_walkers_are_in_jobs(queue, tmp_path):
    """A job is cancelled on the way; the picks are those of one process, bit for bit."""
    four = {"explore.walkers": 4, "stop.max_rounds": 1}
    here, _ = ended(write_campaign(tmp_path / "here", four))
    batch = {"kind": "slurm", "jobs": 2, "memory_GB": 0.5, "prologue": list(ONE.prologue)}
    config = write_campaign(tmp_path / "jobs", four | {"workers": {"walkers": batch}})
    running, cancelled = Campaign(load_config(config), config.with_name("campaign")), False
    for event in running.run():
        if not cancelled and isinstance(event, Progress) and event.stage == "explore":
            slurm.cancel(min(slurm.jobs()))
            cancelled = True
    assert cancelled
    assert_same_campaign(running.store, here)
    assert list((tmp_path / "jobs" / "campaign" / "jobs").glob("*.err"))
