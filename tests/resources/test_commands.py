import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ase_bayesel.errors import CommandError, MissingProgramError, TerminatedError, TimeLimitError
from ase_bayesel.resources.commands import run_command, run_program


def python(code):
    return [sys.executable, "-c", code]


def gone(pid):
    """Whether a process has ended; a zombie counts as ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_lines_are_yielded_and_logged(tmp_path):
    log = tmp_path / "logs" / "out.log"
    command = python("import sys; print('one'); print('two', file=sys.stderr)")
    assert sorted(run_command(command, log)) == ["one", "two"]
    text = log.read_text()
    assert text.startswith(f"$ {sys.executable} -c")
    assert "\none\n" in text
    list(run_command(python("print('three')"), log))
    assert log.read_text().startswith(text)


def test_environment_is_added(tmp_path):
    command = python("import os; print(os.environ['BAYESEL_X'], 'PATH' in os.environ)")
    assert list(run_command(command, tmp_path / "log", environment={"BAYESEL_X": "7"})) == [
        "7 True"
    ]


def test_no_shell(tmp_path):
    lines = run_command(["echo", "$HOME; rm -rf *"], tmp_path / "log")
    assert list(lines) == ["$HOME; rm -rf *"]


def test_a_failure_tells_its_code_and_last_words(tmp_path):
    command = python("print('before'); raise SystemExit(3)")
    with pytest.raises(CommandError, match=r"exit code 3; see .*log.*before"):
        list(run_command(command, tmp_path / "log"))


def test_a_missing_program(tmp_path):
    with pytest.raises(CommandError, match=r"no_such_program: cannot be started"):
        list(run_command(["no_such_program"], tmp_path / "log"))


def test_time_limit_kills_the_whole_group(tmp_path):
    child = "import time; time.sleep(60)"
    code = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "print(p.pid, flush=True); p.wait()"
    )
    lines = run_command(python(code), tmp_path / "log", time_limit_s=3.0)
    pid = int(next(lines))
    with pytest.raises(TimeLimitError, match="stopped after 3 s"):
        next(lines)
    assert gone(pid)


def test_leaving_early_kills(tmp_path):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    lines = run_command(python(code), tmp_path / "log")
    pid = int(next(lines))
    lines.close()
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
@pytest.mark.parametrize(("seconds", "ends"), [(0.1, True), (60, False)])
def test_what_a_program_leaves_running_may_tidy_up_for_a_moment(tmp_path, seconds, ends):
    done = tmp_path / "done"
    daemon = ["sh", "-c", f"sleep {seconds}; touch '{done}'"]
    code = (
        "from subprocess import DEVNULL, Popen; "
        f"print(Popen({daemon}, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL).pid)"
    )
    [pid] = run_command(python(code), tmp_path / "log")
    assert gone(int(pid))
    assert done.exists() == ends


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
@pytest.mark.parametrize("frozen", ["program", "supervisor", "both"])
def test_what_is_frozen_ends_too(tmp_path, frozen):
    code = "import os, time; print(os.getppid(), os.getpid(), flush=True); time.sleep(600)"
    lines = run_command(python(code), tmp_path / "log")
    supervisor, program = map(int, next(lines).split())
    for name, pid in (("program", program), ("supervisor", supervisor)):
        if frozen in (name, "both"):
            os.kill(pid, signal.SIGSTOP)
    lines.close()
    assert gone(program)
    assert gone(supervisor)


@pytest.mark.skipif(sys.platform != "linux", reason="uses a Linux facility")
def test_dies_with_its_parent(tmp_path):
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    parent = (
        "import sys; from pathlib import Path\n"
        "from ase_bayesel.resources.commands import run_command\n"
        f"command, log = [sys.executable, '-c', {child!r}], Path({str(tmp_path / 'log')!r})\n"
        "for line in run_command(command, log): print(line, flush=True)"
    )
    with subprocess.Popen(python(parent), stdout=subprocess.PIPE, text=True) as running:
        pid = int(running.stdout.readline())
        os.kill(running.pid, signal.SIGKILL)
    assert gone(pid)


def test_a_command_that_is_terminated_can_be_run_again(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    with pytest.raises(TerminatedError, match="terminated by a signal"):
        list(run_command(python(code), tmp_path / "log"))


@pytest.mark.parametrize("number", [126, 127])
def test_a_launcher_that_finds_no_program_says_nothing_about_the_structure(tmp_path, number):
    with pytest.raises(MissingProgramError, match=f"exit code {number}"):
        run_program(python(f"raise SystemExit({number})"), tmp_path, "out")


def test_a_program_of_another_machine(tmp_path):
    (tmp_path / "pw.x").write_bytes(b"\x7fELF of another kind")
    (tmp_path / "pw.x").chmod(0o755)
    with pytest.raises(MissingProgramError, match="Exec format error"):
        run_program([str(tmp_path / "pw.x")], tmp_path, "out")
