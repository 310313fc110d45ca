"""Locks where the file system knows none: a file that its holder touches as long as it lives."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import LockedError

HEARTBEAT_S = 10.0
STALE_S = 120.0
"""A lease that was not touched for so long belongs to nobody; one of a dead process of this machine
does not either."""

POLL_S = 0.2
"""Between two looks at a lease that is waited for."""


class LeaseWarning(UserWarning):
    """Locks are not to be had, and leases stand in for them."""


@contextmanager
def leased(path: Path, wait: bool) -> Iterator[Callable[[], bool]]:
    """Hold a lease beside a lock file, as `locks.locked` holds the lock.

    Raises
    ------
    LockedError
        If somebody else holds it and this is not to ``wait``, saying who.
    """
    place, token = lease_of(path), secrets.token_hex(8)
    warnings.warn(
        f"{path}: the file system knows no locks; {place.name} stands in for one, and lasts "
        f"{STALE_S:.0f} s after the death of its holder on another machine",
        LeaseWarning,
        stacklevel=2,
    )
    while not _taken(place, token):
        if not wait:
            raise LockedError(f"{path}: is held by another process ({holder_of(path)})")
        time.sleep(POLL_S)
    over = threading.Event()
    beat = threading.Thread(target=_touch, args=[place, token, over], daemon=True)
    beat.start()
    try:
        yield lambda: not _is_lost(place, token)
    finally:
        over.set()
        beat.join()
        if _token(place) == token:
            place.unlink(missing_ok=True)


def lease_of(path: Path) -> Path:
    """Where the lease in place of a lock lies."""
    return path.with_name(f"{path.name}.lease")


def is_leased(path: Path) -> bool:
    """Whether somebody holds the lease in place of a lock."""
    return lease_of(path).exists() and not _is_stale(lease_of(path))


def holder_of(path: Path) -> str:
    """Who holds the lease in place of a lock, in words."""
    content = _content(lease_of(path))
    return f"process {content.get('pid')} on {content.get('host')}"


def _taken(place: Path, token: str) -> bool:
    """Whether the lease is ours; a stale one is moved away first."""
    if _created(place, token):
        return True
    known, aside = _token(place), place.with_name(f".{place.name}.{token}")
    if not _is_stale(place):
        return False
    with suppress(FileNotFoundError):
        place.rename(aside)
        if _token(aside) != known:  # somebody was faster, and this is the new one
            with suppress(OSError):
                os.link(aside, place)
        aside.unlink()
    return _created(place, token)


def _created(place: Path, token: str) -> bool:
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    content = {"host": socket.gethostname(), "pid": os.getpid(), "token": token}
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(content))
    return True


def _touch(place: Path, token: str, over: threading.Event) -> None:
    """Keep a lease young; where it was lost, ask this process to end as a scheduler would."""
    while not over.wait(HEARTBEAT_S):
        if _is_lost(place, token):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with suppress(OSError):
            os.utime(place)


def _is_lost(place: Path, token: str) -> bool:
    """Whether a lease is gone or somebody else's; one that cannot be read now is neither."""
    try:
        content = json.loads(place.read_text())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return not isinstance(content, dict) or content.get("token") != token


def _is_stale(place: Path) -> bool:
    content = _content(place)
    pid = content.get("pid")
    if content.get("host") == socket.gethostname() and isinstance(pid, int):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
    try:
        return _now(place.parent) - place.stat().st_mtime > STALE_S
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """The time by the clock of the file system, which is not that of each machine."""
    probe = folder / f".clock.{secrets.token_hex(8)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _content(place: Path) -> dict[str, object]:
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _token(place: Path) -> object:
    return _content(place).get("token")
