"""Lock files that the system lets go of when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import LockedError
from .leases import POLL_S, holder_of, is_leased, leased

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What a file system says that knows no locks."""
HELD_BY = "process "
"""What a lock file begins with."""


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold a lock file, alone on this machine and, where the file system can, on others.

    The system lets go of it when this process dies. On a file system that knows no locks a lease
    stands in for it (`leases.leased`), with a `LeaseWarning`.

    Returns
    -------
    What tells whether it is still held: not where the file, or a folder above it, was moved away.

    Raises
    ------
    LockedError
        If somebody else holds it and this is not to ``wait``, saying who; or if the file there is
        none of ours.
    """
    handle = _lock(path, wait)
    if handle is None:
        with leased(path, wait) as held:
            yield held
        return
    try:
        yield lambda: _is_at(path, handle)
    finally:
        if _is_at(path, handle):
            path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, wait: bool) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        made = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            holder = _said(handle)
            os.close(handle)
            if error.errno in NO_LOCKS:
                if made:
                    path.unlink(missing_ok=True)
                return None
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise LockedError(f"{path}: is held by another process ({holder})") from error
        if _is_at(path, handle) and is_leased(path):  # by a machine that finds no locks here
            os.close(handle)
            if not wait:
                raise LockedError(f"{path}: is held by another process ({holder_of(path)})")
            time.sleep(POLL_S)
        elif _is_at(path, handle):
            said = _said(handle)
            if said and not said.startswith(HELD_BY):
                os.close(handle)
                raise LockedError(f"{path}: is no lock file; move it away, nothing was changed")
            with suppress(OSError):  # a full disk is no reason to go without the lock
                os.truncate(handle, 0)
                os.pwrite(handle, f"{HELD_BY}{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            return handle
        else:
            os.close(handle)  # whoever held it has removed the file in between


def _said(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace").strip()


def _is_at(path: Path, handle: int) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
