"""A campaign whose labels are real DFT in jobs of a real batch system, with all that goes wrong.

Quantum ESPRESSO on two atoms of silicon, through sbatch. A worker is killed, a job is
cancelled and the driver dies; after the restart every pick is labelled exactly once.
"""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.io import read, write
from helpers import slurm
from helpers.campaigns import picks, reports
from helpers.command_line import finish, start
from helpers.dft_engines import ESPRESSO, needs_espresso
from helpers.structures import jittered

from ase_bayesel.campaign.store import Store
from ase_bayesel.labelling.task import labelled
from ase_bayesel.structures.labels import PropertyKeys

pytestmark = [
    pytest.mark.slow,
    needs_espresso,
    pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not()),
]

KEYS = PropertyKeys("REF_energy", "REF_forces")
PICKS = 4
CALCULATION_S = 3.0
"""Least time for which a calculation is under way, so that there is something to strike."""


def silicon(std, seed):
    return jittered(bulk("Si"), std, seed)


def settings(program):
    return {
        "descriptor": {"elements": ["Si"], "order": 2, "totaldegree": 6, "cutoff": 5.0},
        "data": {"train": "train.extxyz", "e0s": "average"},
        "explore": {
            "starts": "starts.extxyz",
            "walkers": 2,
            "steps": 40,
            "picks": PICKS,
            "temperature_K": 600.0,
            "timestep_fs": 2.0,
            "tau_rel": 0.2,
            "tau_delay": 2,
            "check_interval": 2,
            "trigger": {"kind": "relative_force", "threshold": 0.003},
        },
        "labelling": {
            "canary": False,
            "kind": "espresso",
            "command": [str(program)],
            "pseudo_dir": str(ESPRESSO.pseudo_dir),
            "pseudopotentials": dict(ESPRESSO.pseudopotentials),
            "kpts": list(ESPRESSO.kpts),
            "parameters": {k: dict(v) for k, v in ESPRESSO.parameters.items()},
        },
        "workers": {"labelling": {"kind": "slurm", "jobs": 2, "memory_GB": 1.0, "walltime_h": 0.5}},
        "stop": {"max_rounds": 2},
    }


@pytest.fixture
def config(tmp_path):
    """A campaign whose program notes in calls.log where it starts, waits, and becomes pw.x."""
    write(tmp_path / "train.extxyz", labelled([silicon(0.05, k) for k in range(5)], ESPRESSO, KEYS))
    write(tmp_path / "starts.extxyz", [silicon(0.02, 100 + k) for k in range(2)])
    program = tmp_path / "slow_pw.x"
    program.write_text(
        f'#!/bin/sh\npwd >> {tmp_path}/calls.log\nsleep {CALCULATION_S}\nexec pw.x "$@"\n'
    )
    program.chmod(0o755)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(program)))
    return path


def calls(config):
    """Identity of the structure of every calculation that was started."""
    log = config.with_name("calls.log")
    return [Path(line).stem for line in log.read_text().split()] if log.exists() else []


def wait_for(condition, process, seconds=180.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def running_jobs():
    return [number for number, state in slurm.jobs().items() if state == "RUNNING"]


def workers_with_engines():
    """Processes that have the engine below them, the Dask workers."""
    ps = ["ps", "-ww", "-eo", "pid,ppid,args"]
    table = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in table.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    supervised = [int(pid) for pid, _, command in rows if "supervise.py" in command]
    engines = {int(parent) for _, parent, command in rows if "slow_pw.x" in command}
    return [parents[pid] for pid in supervised if pid in engines]


def test_every_pick_is_labelled_exactly_once(config):
    directory = config.with_name("config_campaign")
    store = Store(directory)

    def labels():
        return [path.stem for path in directory.glob("labels/e*/*.extxyz")]

    with slurm.running_slurm():
        driver = start(config)
        wait_for(lambda: len(calls(config)) >= 1 and workers_with_engines(), driver)
        os.kill(workers_with_engines()[0], signal.SIGKILL)
        wait_for(lambda: len(labels()) >= 1, driver)
        wait_for(lambda: running_jobs() and workers_with_engines(), driver)
        slurm.cancel(running_jobs()[0])
        wait_for(lambda: len(labels()) >= 2 and workers_with_engines(), driver)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        known, before = set(labels()), len(calls(config))
        finish(start(config))
        assert not known & set(calls(config)[before:])
        assert slurm.jobs() == {}

    chosen = [pick.info["bayesel_id"] for pick in picks(store)]
    assert len(chosen) == 2 * PICKS
    assert sorted(labels()) == sorted(set(chosen))
    assert [report.failed for report in reports(store)] == [0, 0, 0]
    repeats = Counter(calls(config))
    assert repeats.keys() == set(chosen)
    assert sum(repeats.values()) - len(repeats) <= 2 * 3  # two at a time were under way
    for path in directory.glob("labels/e*/*.extxyz"):
        frame = read(path)
        assert frame.info["bayesel_version"].startswith("espresso PWSCF")
        (again,) = labelled([frame], ESPRESSO, KEYS)
        assert again.info["REF_energy"] == pytest.approx(frame.info["REF_energy"], abs=1e-6)
        forces = frame.arrays["REF_forces"]
        np.testing.assert_allclose(again.arrays["REF_forces"], forces, atol=1e-4)
