"""What is started within a mark ends with the process, in every way of ending, and nothing else."""

import os
import signal
import subprocess
import sys

import pytest
from helpers.command_line import ENVIRONMENT
from helpers.processes import alive, pids_in, wait_for

from ase_bayesel.resources.marks import VARIABLE, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")

DRIVER = """
import os, subprocess, sys, time
from pathlib import Path
from ase_bayesel.resources.marks import marked

def sleep(**options):
    return subprocess.Popen(["sleep", "600"], **options).pid

with marked():
    pids = [sleep(), sleep(start_new_session=True)]
    with marked():
        pids.append(int(subprocess.check_output(["sh", "-c", "sleep 600 >/dev/null & echo $!"])))
    forked = os.fork()
    if forked == 0:
        os.setsid()
        with marked():
            time.sleep(600)
    pids.append(forked)
outside = sleep(start_new_session=True)
Path("pids").write_text(" ".join(map(str, [*pids, outside])))
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "number"),
    [
        ("sys.exit(3)", None),
        ("raise RuntimeError", None),
        ("os._exit(1)", None),
        ("time.sleep(600)", signal.SIGTERM),
        ("time.sleep(600)", signal.SIGKILL),
    ],
)
def test_it_ends_with_the_process(tmp_path, ending, number):
    command = [sys.executable, "-c", DRIVER.format(ending=ending)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    ) as driver:
        *started, outside = pids_in(tmp_path, 5)
        try:
            if number is not None:
                assert all(map(alive, started))
                driver.send_signal(number)
            driver.wait(60)
            wait_for(lambda: not any(map(alive, started)))
            assert alive(outside)
        finally:
            os.kill(outside, signal.SIGKILL)


def test_the_environment_is_as_before():
    before = dict(os.environ)
    with marked():
        assert os.environ[VARIABLE]
        with marked():
            pass
        assert os.environ[VARIABLE]
    assert dict(os.environ) == before
