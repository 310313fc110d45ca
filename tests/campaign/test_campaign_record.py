"""Trajectories and logs of a campaign: what they hold, and that a killed one leaves the same."""

import os
import signal
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest
from ase.io import read
from helpers.campaigns import write_campaign
from helpers.command_line import ENVIRONMENT

from ase_bayesel import Campaign
from ase_bayesel.campaign.config.loading import load_config
from ase_bayesel.campaign.store import Store
from ase_bayesel.plots import deviation_log, temperature_log

CHANGES = {
    "explore.log": True,
    "explore.trajectory_interval": 5,
    "explore.trigger": {"kind": "energy_per_atom", "threshold": 0.002},
}


def campaign(config):
    return Campaign(load_config(config), config.with_name("campaign"))


def records(config):
    """Columns of the logs, and the bytes of the trajectories, of all rounds."""
    store = campaign(config).store
    logs = [store.read_log(number) for number in (1, 2)]
    files = sorted(store.directory.glob("round_*/trajectory_*.xyz"))
    return logs, {str(f.relative_to(store.directory)): f.read_bytes() for f in files}


def assert_same_records(one, other):
    for ours, theirs in zip(one[0], other[0], strict=True):
        for name in ours.dtype.names:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert one[1] == other[1]


@pytest.fixture(scope="module", params=["lockstep", "turns"])
def finished(request, tmp_path_factory):
    """Config of an undisturbed campaign, how many events it had, and the changes in it."""
    changes = CHANGES | {"explore.mode": request.param}
    config = write_campaign(tmp_path_factory.mktemp("whole"), changes)
    return config, sum(1 for _ in campaign(config).run()), changes


def test_every_step_is_logged_once(finished):
    store = campaign(finished[0]).store
    for number in (1, 2):
        rows = store.read_log(number)
        state, _ = store.exploration(number).load(store.read_input("starts"))
        for k, walker in enumerate(state.walkers):
            steps = rows["step"][rows["walker"] == k]
            np.testing.assert_array_equal(steps, np.arange(walker.step + 1 if len(steps) else 0))
        picked = sorted((row["walker"], row["step"]) for row in rows[rows["picked"]])
        picks = [(p.walker, p.step) for p in state.picks]
        assert picked == sorted(picks)
        assert len(picks) > 0


def test_the_log_agrees_with_the_trace(finished):
    store = campaign(finished[0]).store
    rows, trace = store.read_log(1), store.exploration(1).read_trace()
    by_step = {(row["walker"], row["step"]): row for row in rows}
    for walker, step, temperature, per_atom, value, tau, picked in trace:
        row = by_step[(walker, step)]
        assert row["temperature_K"] == temperature
        assert row["energy_std"] / 4 == pytest.approx(per_atom)
        assert row["tau"] == tau
        assert row["picked"] == picked
        assert row["trigger_value"] == value


def test_trajectories(finished):
    store = campaign(finished[0]).store
    rows = store.read_log(1)
    frames = read(store.round_directory(1) / "trajectory_0.xyz", ":")
    last = rows["step"][rows["walker"] == 0].max()
    assert [f.info["bayesel_step"] for f in frames] == list(range(0, last + 1, 5))
    for frame in frames:
        (row,) = rows[(rows["walker"] == 0) & (rows["step"] == frame.info["bayesel_step"])]
        assert frame.info["bayesel_energy"] == pytest.approx(row["energy"])
        assert frame.info["bayesel_temperature_K"] == pytest.approx(row["temperature_K"])


@pytest.mark.slow
def test_left_at_any_event_and_taken_up_again(finished, tmp_path):
    config, n_events, changes = finished
    for number, count in enumerate(range(n_events // 4, n_events, n_events // 3)):
        ours = write_campaign(tmp_path / str(number), changes)
        list(islice(campaign(ours).run(), count))
        list(campaign(ours).run())
        assert_same_records(records(ours), records(config))


@pytest.mark.slow
def test_killed_and_run_again(finished, tmp_path):
    ours = write_campaign(tmp_path, finished[2])
    code = "from ase_bayesel.cli import app; app()"
    command = [sys.executable, "-c", code, "run", str(ours), "--dir", str(tmp_path / "campaign")]
    places = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, env=ENVIRONMENT | {"PYTHONPATH": places})
    while process.poll() is None and not list(tmp_path.glob("campaign/round_0002/log/*.npz")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    list(campaign(ours).run())
    assert_same_records(records(ours), records(finished[0]))


def test_no_records_unless_asked_for(tmp_path):
    config = write_campaign(tmp_path, {"stop.max_rounds": 1})
    list(campaign(config).run())
    store = Store(config.with_name("campaign"))
    assert len(store.read_log(1)) == 0
    assert deviation_log(store, 1) is None
    assert not list(store.directory.glob("round_*/log"))
    assert not list(store.directory.glob("round_*/trajectory_*"))


def test_the_report_draws_the_log(finished):
    store = campaign(finished[0]).store
    rows = store.read_log(1)
    assert len(temperature_log(store, 1).lines) == 2
    (line,) = [line for line in deviation_log(store, 1).lines if line.get_label() == "walker 0"]
    mine = rows[rows["walker"] == 0]
    np.testing.assert_array_equal(line.get_xdata(), mine["step"])
    np.testing.assert_array_equal(line.get_ydata(), mine["energy_std"])
