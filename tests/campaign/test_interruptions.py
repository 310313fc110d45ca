"""Signals, a second process, a full disk: the command ends with a name and goes on afterwards."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from helpers.campaigns import (
    assert_same_campaign,
    calls,
    counted,
    reports,
    write_campaign,
    write_config,
)
from helpers.command_line import bayesel, finish, start
from helpers.processes import alive, catches, children, has_loaded, wait_for
from rich.console import Console

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.events import Progress
from ase_bayesel.campaign.store import Store
from ase_bayesel.cli import stopping
from ase_bayesel.cli.progress import show
from ase_bayesel.cli.stopping import StopRequested, stop_requests
from ase_bayesel.errors import LockedError

NEVER = {"explore.trigger.threshold": 1e9, "explore.steps": 100_000, "stop.max_rounds": 1}


def stopped(process, number):
    """Exit code and what was said after a signal."""
    process.send_signal(number)
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_the_step_and_says_run_again(tmp_path, number):
    """In the middle of a long exploration without picks, whose steps are kept."""
    config = write_campaign(tmp_path, NEVER)
    store = Store(tmp_path / "config_campaign")
    log = tmp_path / "log"
    with open(log, "w") as out:
        process = start(config, out, out)
        wait_for(lambda: "round 1 explore" in log.read_text())
        assert stopped(process, number) == 75
    assert f"stopped on {number.name}" in log.read_text()
    assert "run again" in log.read_text()
    state, _ = store.exploration(1).load(store.read_input("starts"))
    assert min(walker.step for walker in state.walkers) > 0
    assert not (store.directory / "lock").exists()


@pytest.mark.slow
def test_signals_in_the_middle_change_nothing(tmp_path):
    undisturbed, config = (counted(tmp_path / name) for name in ("undisturbed", "stopped"))
    finish(start(undisturbed))
    store = Store(config.with_name("config_campaign"))
    for pattern in ("round_0001/picks/*", "labels/e*/*.extxyz"):
        process = start(config)
        wait_for((store.directory / "lock").exists)
        wait_for(lambda pattern=pattern: any(store.directory.glob(pattern)))
        assert stopped(process, signal.SIGTERM) in (75, 0)
    finish(start(config))
    assert_same_campaign(store, Store(undisturbed.with_name("config_campaign")))
    assert len(calls(config)) <= 6 + 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("library", [None, "/scipy/"])
def test_a_signal_while_it_loads_says_run_again(tmp_path, number, library):
    process = start(write_campaign(tmp_path, NEVER))
    wait_for(lambda: catches(process.pid, signal.SIGTERM))  # the last that gets a handler
    if library is not None:
        wait_for(lambda: has_loaded(process.pid, library))
    assert stopped(process, number) == 75


@pytest.mark.slow
@pytest.mark.parametrize("between_s", [0.05, 0.3])
def test_signals_one_after_the_other_say_run_again(tmp_path, between_s):
    """From the loading on, or in the middle of a round: until the process has ended."""
    config = write_campaign(tmp_path, NEVER)
    store = Store(tmp_path / "config_campaign")
    for begun in (lambda: True, (store.directory / "round_0000" / "DONE").exists):
        process = start(config)
        wait_for(lambda process=process: catches(process.pid, signal.SIGTERM))
        wait_for(begun)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(between_s)
        process.communicate()
        assert process.returncode == 75
    assert Campaign.open(store.directory).store.completed_rounds() == 1


@pytest.mark.slow
def test_a_frozen_worker_delays_the_end_by_seconds(tmp_path):
    """A calculation in a process that was stopped; it neither answers nor ends by itself."""
    config = write_campaign(
        tmp_path,
        {
            "labelling": {
                "kind": "import",
                "factory": "helpers.calculators:WaitingEMT",
                "parameters": {"log": str(tmp_path / "log"), "file": str(tmp_path / "never")},
            },
            "workers": {"labelling": {"kind": "processes", "n_workers": 1}},
        },
    )
    process = start(config)
    wait_for(lambda: any((tmp_path / "config_campaign").glob("labels/*/*.running")))
    workers = children(process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    assert stopped(process, signal.SIGTERM) == 75
    assert workers
    wait_for(lambda: not any(map(alive, workers)))


TRAINING = [sys.executable, "-c", "import time; time.sleep(600)", "{output}"]
ONE = {"kind": "processes", "n_workers": 1}
FROZEN = {
    "fit": (
        "round 0 fit",
        {
            "workers": {"features": ONE, "labelling": {"kind": "here"}},
            "descriptor.order": 3,
            "descriptor.totaldegree": 12,
            "descriptor.cutoff": 6.0,
            "explore.steps": 4,
            "explore.picks": 1,
            "stop.max_rounds": 1,
        },
    ),
    "explore": ("round 1 explore", NEVER | {"workers": {"walkers": ONE}}),
    "refit": (
        "round 1 label 3/3",
        {
            "potential": {
                "kind": "import",
                "factory": "helpers.calculators:ScaledEMT",
                "model": "scale.txt",
            },
            "refit": {"kind": "command", "command": TRAINING},
            "workers": {"refit": ONE, "labelling": {"kind": "here"}},
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("phase", FROZEN)
def test_frozen_workers_of_each_phase(tmp_path, phase, times):
    """What had been done is there, and the next run goes on from it."""
    begun, changes = FROZEN[phase]
    (tmp_path / "scale.txt").write_text("0.9")
    config = write_campaign(tmp_path, changes)
    log = tmp_path / "log"
    with open(log, "w") as out:
        process = start(config, out, out)
        wait_for(lambda: begun in log.read_text())
        wait_for(lambda: any(map(children, children(process.pid))))
        frozen = children(process.pid)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run again" in log.read_text()
    assert frozen
    wait_for(lambda: not any(map(alive, frozen)))
    rounds = len(list((tmp_path / "config_campaign").glob("round_*/DONE")))
    assert rounds == (0 if phase == "fit" else 1)
    if phase == "fit":
        finish(start(config))


def test_a_step_that_takes_too_long_is_left(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_S", 0.2)
    with stop_requests() as requests:
        signal.raise_signal(signal.SIGTERM)
        assert requests.signal == "SIGTERM"
        with pytest.raises(StopRequested):
            time.sleep(5.0)


def test_what_ends_after_the_step_is_not_left(monkeypatch):
    """Jobs are cancelled to the last, however long the batch system takes."""
    ended = []

    def slow():
        try:
            signal.raise_signal(signal.SIGTERM)
            yield Progress(1, "explore", 1, 2)
        finally:
            time.sleep(0.4)
            ended.append("jobs")

    monkeypatch.setattr(stopping, "GRACE_S", 0.2)
    with stop_requests() as requests:
        assert show(slow(), requests, Console(quiet=True)) is None
    assert ended == ["jobs"]


def test_a_second_signal_does_not_wait(capfd):
    with stop_requests():
        signal.raise_signal(signal.SIGINT)
        told = capfd.readouterr().err
        assert told.count("\n") == 1
        assert "stopping: " in told
        assert "Ctrl-C again does not wait" in told
        with pytest.raises(StopRequested):
            signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr().err == ""


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.slow
def test_a_second_process_is_refused_and_status_is_not(tmp_path):
    config = write_campaign(tmp_path, NEVER)
    directory = tmp_path / "config_campaign"
    process = start(config)
    wait_for((directory / "round_0000" / "DONE").exists)
    second = bayesel("run", config)
    assert second.returncode == 2
    assert f"lock: is held by another process (process {process.pid} on " in second.stderr
    assert bayesel("status", config).returncode == 0
    write_config(tmp_path, NEVER | {"threads": 2})
    with pytest.raises(LockedError, match=str(process.pid)):
        Campaign(load_config(config), directory)
    assert Store(directory).read_config()["threads"] == 1
    assert stopped(process, signal.SIGTERM) == 75


@pytest.mark.slow
def test_a_signal_that_ends_the_training_first_says_run_again(tmp_path):
    """A scheduler signals the programs together with the campaign that waits for them."""
    (tmp_path / "scale.txt").write_text("0.9")
    code = "import sys, time, pathlib; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    potential = {"kind": "import", "factory": "helpers.calculators:ScaledEMT"}
    training = [sys.executable, "-c", code, str(tmp_path / "training"), "{output}"]
    changes = {
        "potential": potential | {"model": "scale.txt"},
        "refit": {"kind": "command", "command": training},
    }
    log = tmp_path / "log"
    with open(log, "w") as out:
        process = start(write_campaign(tmp_path, changes), out)
        wait_for((tmp_path / "training").exists)
        supervisor = next(pid for pid in children(process.pid) if children(pid))
        process.send_signal(signal.SIGTERM)
        os.kill(supervisor, signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 75
    assert "was terminated by a signal" in log.read_text()


@contextmanager
def small_disk(path, kilobytes):
    """A file system of a given size, where one can be had."""
    path.mkdir()
    options = f"size={kilobytes}k"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path):
    """A disk that is too small, and is made larger bit by bit until the campaign fits."""
    undisturbed = counted(tmp_path / "undisturbed")
    finish(start(undisturbed))
    config = counted(tmp_path / "full")
    directory = tmp_path / "disk"
    refused = 0
    with small_disk(directory, 140):
        for kilobytes in range(140, 2000, 120):
            resize = ["mount", "-o", f"remount,size={kilobytes}k", str(directory)]
            subprocess.run(resize, check=True)
            result = bayesel("run", config, "--dir", directory)
            if result.returncode == 0:
                break
            refused += 1
            assert result.returncode == 2, result.stderr
            assert "No space left on device" in result.stderr
            assert "Traceback" not in result.stderr
        assert refused > 2
        assert_same_campaign(Store(directory), Store(undisturbed.with_name("config_campaign")))
        assert sum(report.failed for report in reports(Store(directory))) == 0
        assert len(calls(config)) == len(set(calls(config))) == 6
