"""Executors: the same answers everywhere, lost workers made up for, nothing left behind."""

import gc
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, as_completed, wait
from dataclasses import replace

import dask
import distributed
import pytest
from helpers import worker_tasks as tasks
from helpers.command_line import ENVIRONMENT
from helpers.processes import alive, children, pids_in, wait_for

from ase_bayesel.errors import MissingProgramError, TimeLimitError, WorkerError
from ase_bayesel.resources import (
    BatchJobs,
    Here,
    LocalCluster,
    ProcessPool,
    RunningCluster,
    open_client,
    open_executor,
)
from ase_bayesel.resources.apart import call_apart
from ase_bayesel.resources.encryption import key_in_files

WITH_DASK = pytest.param(LocalCluster(2), marks=pytest.mark.slow, id="LocalCluster")
ELSEWHERE = [pytest.param(ProcessPool(2), id="ProcessPool"), WITH_DASK]
EVERYWHERE = [pytest.param(Here(), id="Here"), *ELSEWHERE]


@pytest.mark.parametrize("resource", EVERYWHERE)
def test_tasks_give_what_they_give_here(resource):
    with open_executor(resource) as executor:
        futures = [executor.submit(divmod, n, 7) for n in range(20)]
        failing = executor.submit(tasks.wrong, "no such thing")
        assert wait(futures, 60).not_done == set()
        assert [future.result() for future in futures] == [divmod(n, 7) for n in range(20)]
        assert {f.result() for f in as_completed(futures)} == {divmod(n, 7) for n in range(20)}
        with pytest.raises(ValueError, match="no such thing"):
            failing.result()
        elsewhere = executor.submit(tasks.process).result() != os.getpid()
        assert elsewhere == (resource != Here())


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_tasks_run_side_by_side(resource, tmp_path):
    with open_executor(resource) as executor:
        futures = [executor.submit(tasks.meet, tmp_path, 2) for _ in range(2)]
        assert len({future.result() for future in futures}) == 2


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_a_task_whose_worker_is_lost_runs_again(resource, tmp_path):
    with open_executor(resource) as executor:
        others = [executor.submit(tasks.nap, 0.2) for _ in range(6)]
        assert executor.submit(tasks.deadly, tmp_path, 2).result(60) == "survived 2"
        assert wait(others, 60).not_done == set()
        assert all(future.exception() is None for future in others)


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_a_task_that_kills_three_workers_is_given_up(resource, tmp_path):
    with open_executor(resource) as executor:
        poison = executor.submit(tasks.deadly, tmp_path, 99)
        with pytest.raises(WorkerError, match="workers were lost over"):
            poison.result(60)
        assert len(list(tmp_path.iterdir())) == 3
        assert executor.submit(abs, -2).result(60) == 2


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_a_poisonous_task_takes_no_other_along(resource, tmp_path):
    with open_executor(replace(resource, n_workers=1)) as executor:
        executor.submit(abs, -1).result(60)
        poison = executor.submit(tasks.deadly, tmp_path, 99)
        futures = [executor.submit(tasks.nap, 0.05) for _ in range(10)]
        assert isinstance(poison.exception(60), WorkerError)
        assert [future.exception(60) for future in futures] == [None] * 10


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_what_is_done_is_not_done_again(resource, tmp_path):
    """Workers that are lost after a task cost nothing, though its future is kept."""
    with open_executor(resource) as executor:
        futures = [executor.submit(tasks.logged, k, 0.1, tmp_path) for k in range(4)]
        assert wait(futures, 60).not_done == set()
        naps = [executor.submit(tasks.nap, 0.2) for _ in range(4)]
        for pid in {nap.result(60) for nap in naps}:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.0)
        assert executor.submit(abs, -2).result(60) == 2
        time.sleep(1.0)
    assert {(tmp_path / str(k)).read_text() for k in range(4)} == {"started\ndone\n"}


def test_a_lost_worker_costs_its_own_task_only(tmp_path):
    """What runs beside it goes on, once."""
    with open_executor(ProcessPool(2)) as executor:
        beside = executor.submit(tasks.logged, 0, 1.5, tmp_path)
        wait_for((tmp_path / "0").exists)
        (tmp_path / "deaths").mkdir()
        assert executor.submit(tasks.deadly, tmp_path / "deaths", 1).result(20) == "survived 1"
        assert not beside.done()
        assert beside.result(20) == 0
    assert (tmp_path / "0").read_text() == "started\ndone\n"


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_at_the_end_all_is_ended(resource, tmp_path):
    """What runs dies, with the programs that it has started; what waits is cancelled."""
    (tmp_path / "second").mkdir()
    with open_executor(resource) as executor:
        running = [
            executor.submit(tasks.program, folder) for folder in (tmp_path, tmp_path / "second")
        ]
        waiting = executor.submit(tasks.nap, 0.0, tmp_path)
        programs = pids_in(tmp_path, 2) + pids_in(tmp_path / "second", 2)
        assert all(map(alive, programs))
    wait_for(lambda: not any(map(alive, programs)))
    assert waiting.cancelled()
    for future in running:
        with pytest.raises((WorkerError, CancelledError)):
            future.result(1)
    assert len(list(tmp_path.glob("[0-9]*"))) == 0


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_a_killed_worker_takes_its_programs_along(resource, tmp_path):
    with open_executor(resource) as executor:
        worker = executor.submit(tasks.process).result()
        others = {executor.submit(tasks.process).result() for _ in range(4)} - {worker}
        executor.submit(tasks.program, tmp_path)
        programs = pids_in(tmp_path, 2)
        for pid in {worker, *others}:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, programs)))


@pytest.mark.slow
def test_two_clusters_of_one_machine():
    """They take ports of their own, and no warning says otherwise."""
    with open_executor(LocalCluster(1)) as one, open_executor(LocalCluster(1)) as other:
        for executor in (one, other):  # nobody else's machine reaches it
            assert executor._client.scheduler.address.startswith("tcp://127.0.0.1:")
        assert one.submit(tasks.process).result(60) != other.submit(tasks.process).result(60)


@pytest.mark.slow
def test_who_has_no_key_reaches_no_worker(tmp_path):
    pages = {"dashboard_address": "127.0.0.1:0"}
    with (
        key_in_files(tmp_path) as security,
        distributed.LocalCluster(1, threads_per_worker=1, security=security, **pages) as cluster,
    ):
        encrypted = cluster.scheduler_address
        assert encrypted.startswith("tls://127.0.0.1:")
        with pytest.raises(WorkerError, match="no key for its encryption"):
            open_client(RunningCluster(encrypted)).__enter__()
        with pytest.raises(WorkerError, match="no Dask scheduler answers"):
            open_client(RunningCluster(encrypted.replace("tls", "tcp"))).__enter__()
        gc.collect()  # a client that could not connect stands in the way of the next one
        key = security.get_tls_config_for_role("client")
        settings = {"ca-file": key["ca_file"]}
        settings |= {f"client.{name}": key[name] for name in ("key", "cert")}
        with (
            dask.config.set({f"distributed.comm.tls.{k}": v for k, v in settings.items()}),
            open_executor(RunningCluster(encrypted)) as executor,
        ):
            assert executor.submit(tasks.process).result(60) != os.getpid()


CLUSTER = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        time.sleep(600)
"""


@pytest.mark.slow
def test_a_running_cluster_and_its_end(tmp_path):
    (tmp_path / "cluster.py").write_text(CLUSTER)
    command = [sys.executable, str(tmp_path / "cluster.py")]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as cluster:
        resource = RunningCluster(cluster.stdout.readline().strip())
        with open_executor(resource) as executor:
            worker = executor.submit(tasks.process).result(60)
            unfinished = executor.submit(tasks.nap, 600.0)
        assert unfinished.cancelled()
        assert alive(worker)
        with open_executor(resource) as executor:
            unfinished = executor.submit(tasks.nap, 600.0)
            cluster.kill()
            with pytest.raises(WorkerError, match="lost the connection"):
                unfinished.result(60)


ORPHANS = """
from pathlib import Path
import sys
from helpers import worker_tasks as tasks
from ase_bayesel.resources import LocalCluster, ProcessPool, open_executor

if __name__ == "__main__":
    with open_executor({resource}) as executor:
        executor.submit(tasks.{task}, Path({folder!r})).result()
"""


@pytest.mark.parametrize(
    ("resource", "task"),
    [
        (ProcessPool(1), "program"),
        (ProcessPool(1), "child"),
        pytest.param(LocalCluster(1), "program", marks=pytest.mark.slow),
    ],
)
def test_workers_die_with_this_process(resource, task, tmp_path):
    code = ORPHANS.format(resource=resource, task=task, folder=str(tmp_path))
    (tmp_path / "driver.py").write_text(code)
    driver = subprocess.Popen([sys.executable, str(tmp_path / "driver.py")], env=ENVIRONMENT)
    try:
        programs = pids_in(tmp_path, 2 if task == "program" else 1)
        below = children(driver.pid)
        assert below
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: not any(map(alive, [*programs, *below])))


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
@pytest.mark.parametrize("ending", ["returns", "hangs", "dies", "time limit"])
def test_what_a_task_has_started_ends_with_the_pool(ending, tmp_path):
    """Also in a session of its own, however the task ends."""
    if ending == "time limit":
        with pytest.raises(TimeLimitError):
            call_apart(1.5, tasks.stray, tmp_path, "hangs")
    else:
        with open_executor(ProcessPool(1)) as executor:
            task = executor.submit(tasks.stray, tmp_path, ending)
            (pid,) = pids_in(tmp_path, 1)
            assert ending != "returns" or task.result(60) is None
            assert ending == "dies" or alive(pid)
    (pid,) = pids_in(tmp_path, 1)
    wait_for(lambda: not alive(pid))


def test_apart_with_any_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert call_apart(120.0, math.hypot, 3, 4) == 5.0


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_task_has_started_ends_with_this_process(number, tmp_path):
    code = f"""
from pathlib import Path
from helpers import worker_tasks as tasks
from ase_bayesel.resources import ProcessPool, open_executor
with open_executor(ProcessPool(1)) as executor:
    executor.submit(tasks.stray, Path({str(tmp_path)!r}), "hangs").result()
"""
    with subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT) as driver:
        (pid,) = pids_in(tmp_path, 1)
        below = children(driver.pid)
        assert pid in below
        driver.send_signal(number)
    wait_for(lambda: not any(map(alive, below)))


def test_a_plain_script_needs_no_guard(tmp_path):
    """The pool does not import the main module."""
    code = "from ase_bayesel.resources import *\n"
    code += (
        "with open_executor(ProcessPool(1)) as executor: print(executor.submit(abs, -3).result())"
    )
    (tmp_path / "plain.py").write_text(code)
    run = [sys.executable, str(tmp_path / "plain.py")]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_errors_of_the_pool_tell_where():
    with open_executor(ProcessPool(1)) as executor:
        with pytest.raises(ValueError, match="strange") as caught:
            executor.submit(tasks.wrong, "strange").result()
        assert "worker_tasks.py" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match="Stubborn: 1 and 2"):
            executor.submit(tasks.stubborn).result()
        with pytest.raises(Exception, match="pickle"):
            executor.submit(tasks.unpicklable).result()
        with pytest.raises(Exception, match="pickle"):
            executor.submit(lambda: None)
        assert executor.submit(abs, -1).result() == 1


def test_a_waiting_task_can_be_cancelled(tmp_path):
    with open_executor(ProcessPool(1)) as executor:
        first = executor.submit(tasks.nap, 0.5)
        second = executor.submit(tasks.nap, 0.0, tmp_path)
        assert second.cancel()
        first.result()
        assert executor.submit(abs, -1).result() == 1
    assert list(tmp_path.iterdir()) == []


def test_threads_of_the_pool(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with open_executor(ProcessPool(1, threads=3)) as executor:
        assert executor.submit(tasks.threads).result() == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with open_executor(ProcessPool(1, threads=3)) as executor:
        assert executor.submit(tasks.threads).result() == "2"


THREADS = """
import sys
from importlib.util import find_spec
from ase_bayesel.resources.threads import cpu_threads
with cpu_threads(3):
    with cpu_threads(2):
        assert find_spec("torch") is not None and "torch" not in sys.modules
        import torch
        print(torch.get_num_threads())
        with cpu_threads(1):
            print(torch.get_num_threads())
        print(torch.get_num_threads())
    print(torch.get_num_threads())
print(torch.get_num_threads(), sys.meta_path == finders)
"""


def test_a_torch_that_comes_later_has_its_threads_too():
    """The innermost limit holds; afterwards it has as many as it came with."""
    code = f"import sys; finders = list(sys.meta_path)\n{THREADS}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert run.stdout.decode().split() == ["2", "1", "2", "3", "1", "True"], run.stderr.decode()


@pytest.mark.parametrize("resource", ELSEWHERE)
def test_what_has_ended_takes_nothing(resource):
    with open_executor(resource) as executor:
        pass
    with pytest.raises(WorkerError, match="closed"):
        executor.submit(abs, 1)


def test_a_batch_system_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(MissingProgramError, match="bsub: no such program"),
        open_executor(BatchJobs("lsf")),
    ):
        pass
