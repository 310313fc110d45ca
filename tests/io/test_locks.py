"""Locks, and the leases that stand in for them where a file system knows none.

No file system here lacks them, so that this fault is injected.
"""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.processes import wait_for

from ase_bayesel.errors import LockedError
from ase_bayesel.io import leases
from ase_bayesel.io.leases import LeaseWarning, lease_of
from ase_bayesel.io.locks import locked

NO_LOCKS = """
import errno, fcntl, sys, time, warnings
from pathlib import Path
def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
warnings.simplefilter("ignore")
from ase_bayesel.io.locks import locked
"""
HOLD = f"""{NO_LOCKS}
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.filterwarnings("ignore::ase_bayesel.io.leases.LeaseWarning")


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP])
def without_locks(request, monkeypatch):
    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def lease(path, **changes):
    """A lease of somebody else."""
    content = {"host": "elsewhere", "pid": 1, "token": "theirs"} | changes
    lease_of(path).write_text(json.dumps(content))
    return lease_of(path)


def older(path, seconds):
    stamp = path.stat().st_mtime - seconds
    os.utime(path, (stamp, stamp))


def test_a_lease_stands_in_and_says_so(without_locks, tmp_path):
    path = tmp_path / "lock"
    with locked(path) as held:
        content = json.loads(lease_of(path).read_text())
        assert (content["host"], content["pid"]) == (socket.gethostname(), os.getpid())
        assert held()
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} on {socket.gethostname()}"),
            locked(path),
        ):
            pass
        assert held()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_told(without_locks, tmp_path):
    lock = locked(tmp_path / "lock")
    with pytest.warns(
        LeaseWarning, match="lock: the file system knows no locks; lock.lease stands"
    ):
        lock.__enter__()
    lock.__exit__(None, None, None)


def test_a_lease_dies_with_its_process(without_locks, tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with (
            pytest.raises(LockedError, match=f"process {holder.pid}"),
            locked(path),
        ):
            pass
        holder.kill()
        holder.wait()
    with locked(path) as held:
        assert held()


@pytest.mark.parametrize(("age_s", "free"), [(0, False), (100, False), (130, True), (1e6, True)])
def test_a_lease_of_another_machine_is_free_once_it_is_old(age_s, free, without_locks, tmp_path):
    path = tmp_path / "lock"
    older(lease(path), age_s)
    if not free:
        with (
            pytest.raises(LockedError, match="process 1 on elsewhere"),
            locked(path),
        ):
            pass
        assert json.loads(lease_of(path).read_text())["token"] == "theirs"
    else:
        with locked(path) as held:
            assert held()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": "x", "host": 3}'])
def test_a_torn_lease_counts_by_its_age(content, without_locks, tmp_path):
    path = tmp_path / "lock"
    lease_of(path).write_text(content)
    with pytest.raises(LockedError), locked(path):
        pass
    older(lease_of(path), 200)
    with locked(path) as held:
        assert held()


def test_a_lease_is_kept_young(without_locks, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.02)
    path = tmp_path / "lock"
    with locked(path):
        older(lease_of(path), 1e4)
        old = lease_of(path).stat().st_mtime
        wait_for(lambda: lease_of(path).stat().st_mtime > old + 1e3)


def test_who_has_lost_a_lease_is_asked_to_end(without_locks, tmp_path, monkeypatch):
    """As a machine that was asleep, whose lease another one has taken."""
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.02)
    path, asked = tmp_path / "lock", threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        with locked(path) as held:
            lease(path)
            assert not held()
            wait_for(asked.is_set)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert json.loads(lease_of(path).read_text())["token"] == "theirs"


def test_a_machine_that_knows_locks_respects_a_lease(tmp_path):
    path = tmp_path / "lock"
    lease(path)
    with pytest.raises(LockedError, match="process 1 on elsewhere"), locked(path):
        pass
    older(lease_of(path), 1e4)
    with locked(path) as held:
        assert held()


def test_leases_are_taken_by_one_after_the_other(tmp_path):
    code = f"""{NO_LOCKS}
from ase_bayesel.io import leases
leases.POLL_S = 0.002
total = Path(sys.argv[1])
for _ in range(10):
    with locked(total.with_name("lock"), wait=True):
        total.write_text(str(int(total.read_text()) + 1))
"""
    total = tmp_path / "total"
    total.write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", code, total]) for _ in range(3)]
    assert [process.wait() for process in running] == [0] * 3
    assert total.read_text() == "30"


def test_a_file_of_somebody_else_is_no_lock_file(tmp_path):
    path = tmp_path / "lock"
    path.write_text("my notes")
    with pytest.raises(LockedError, match="is no lock file"), locked(path):
        pass
    assert path.read_text() == "my notes"


@pytest.mark.parametrize("moved", ["folder", "file"])
def test_a_lock_that_was_moved_away_is_not_held(moved, tmp_path):
    path = tmp_path / "folder" / "lock"
    with locked(path) as held:
        assert held()
        place = path if moved == "file" else path.parent
        place.rename(tmp_path / "moved")
        assert not held()
    assert Path(tmp_path / "moved").exists()


def test_a_lease_that_cannot_be_read_for_once_is_not_lost(without_locks, tmp_path, monkeypatch):
    """A file that is stale on a network, which cannot be had here: a mock stands for it."""
    with locked(tmp_path / "lock") as held:
        assert held()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", gone)
            assert held()
        assert held()
        lease_of(tmp_path / "lock").unlink()
        assert not held()


def gone(path, *arguments):
    raise OSError(errno.ESTALE, "stale file handle")
