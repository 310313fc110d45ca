"""The command line: in this process, and in one of its own that may be killed."""

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

from typer.testing import CliRunner

from ase_bayesel.cli import main as cli

BAYESEL = str(Path(sysconfig.get_path("scripts")) / "bayesel")
TESTS = Path(__file__).parents[1]
SEARCHED = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(SEARCHED)}


def bayesel(*arguments) -> subprocess.CompletedProcess:
    """Run the command ``bayesel`` to its end."""
    command = [BAYESEL, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)


def start(config, out=subprocess.DEVNULL, errors=subprocess.PIPE):
    """``bayesel run`` in a process of its own; what it does is told on ``errors``."""
    return launched([BAYESEL, "run", config], out, errors)


def launched(command, out=subprocess.DEVNULL, errors=subprocess.PIPE):
    """Any command in a process of its own."""
    return subprocess.Popen(
        [*map(str, command)],
        env=os.environ | ENVIRONMENT,
        stdout=out,
        stderr=errors,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors


def kill_when(process, directory, pattern, count, delay_s):
    """SIGKILL ``delay_s`` after so many files match; False if it ended before that."""
    while len(list(directory.glob(pattern))) < count:
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    time.sleep(delay_s)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive


def call(*arguments):
    """The command in this process."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def assert_refused(result, *named):
    """Exit code 2 and one message that names the place; nothing of Python's."""
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.count("error: ") == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    for name in named:
        assert str(name) in result.stderr
