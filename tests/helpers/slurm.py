"""A real SLURM of one node for the tests: munged, slurmctld and slurmd in a private directory."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ase_bayesel.resources import BatchJobs
from ase_bayesel.resources.commands import SUPERVISOR

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PATIENCE_S = 60.0
SBIN = "/usr/sbin:/sbin"
CPUS = 4
TESTS = Path(__file__).parents[1]
ONE = BatchJobs(memory_GB=0.2, walltime_h=0.2, prologue=(f"export PYTHONPATH={TESTS}:$PYTHONPATH",))
"""One job at a time, whose tasks find the helpers."""

SETTINGS = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 \
CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """What keeps a SLURM from being started here; empty where nothing does."""
    if os.name != "posix" or os.geteuid() != 0:
        return "SLURM's daemons need root"
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"not installed: {', '.join(missing)} (Debian: slurm-wlm, munge)" if missing else ""


@contextmanager
def running_slurm():
    """Start it, with SLURM_CONF in this process's environment, and end it with all its jobs."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = _write_settings(folder)
        environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(settings)}
        stack.enter_context(_daemon(_munged(folder), folder, environment))
        _wait_for(lambda: (folder / "munge.socket").exists(), folder, "munged")
        # SlurmctldHost wants the name of this machine; -N tells slurmd the node's
        stack.enter_context(_daemon(["slurmctld", "-D", "-i"], folder, environment))
        stack.enter_context(_daemon(["slurmd", "-D", "-N", _host()], folder, environment))
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = str(settings)
        stack.callback(_restore, before)
        stack.callback(_end_jobs)
        _wait_for(_idle, folder, "slurmctld and slurmd")
        yield folder


def jobs() -> dict[str, str]:
    """State of each job in the queue, by its number."""
    lines = _answer(["squeue", "--noheader", "--all", "--format=%i %T"]).splitlines()
    return dict(line.split() for line in lines if line.strip())


def cancel(*numbers: str) -> None:
    """scancel."""
    subprocess.run(["scancel", *numbers], check=True, capture_output=True)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{SBIN}"


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _write_settings(folder: Path) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    controller, node = _free_ports(2)
    values = {"host": _host(), "controller": controller, "node": node, "cpus": CPUS}
    path = folder / "slurm.conf"
    path.write_text(SETTINGS.format(folder=folder, **values))
    return path


def _munged(folder: Path) -> list[str]:
    """Its command, as root with a key and a socket of its own."""
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    files = {"key-file": key, "socket": folder / "munge.socket"}
    files |= {f"{kind}-file": folder / f"munged.{kind}" for kind in ("pid", "log", "seed")}
    options = [f"--{name}={path}" for name, path in files.items()]
    return ["munged", "--foreground", "--force", *options]


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _daemon(command, folder, environment):
    """A daemon in the foreground that ends with this block or this process, and its children."""
    program = shutil.which(command[0], path=_path())
    with open(folder / f"{command[0]}.out", "ab") as log:
        process = subprocess.Popen(
            [*SUPERVISOR, program, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()


def _idle() -> bool:
    return bool(re.search(r"\bidle\b", _answer(["sinfo", "--noheader", "--format=%T"])))


def _answer(command) -> str:
    """Output of a command; nothing where it fails, as it does before the daemons are up."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.stdout if done.returncode == 0 else ""


def _end_jobs() -> None:
    deadline = time.monotonic() + 20
    while (left := jobs()) and time.monotonic() < deadline:
        subprocess.run(["scancel", *left], capture_output=True)
        time.sleep(0.2)


def _restore(before) -> None:
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


def _wait_for(condition, folder, what) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            logs = "\n".join(p.read_text(errors="replace")[-2000:] for p in folder.glob("*.log"))
            raise RuntimeError(f"{what}: not ready after {PATIENCE_S:.0f} s\n{logs}")
        time.sleep(0.1)
