"""Files that are either whole or not there, and errors that name a damaged one."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import socket
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .archives import checked_npz
from .errors import BayeselError, LockedError, StoreError
from .structures import write_frames

DAMAGE = (
    OSError,
    ArithmeticError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    BayeselError,
)
"""What reading a damaged file may raise."""


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The arrays of an npz file; whatever is wrong with it ends in an error that names it."""
    try:
        with (
            open(path, "rb") as handle,
            np.load(checked_npz(handle), allow_pickle=False) as data,
        ):
            yield data
    except DAMAGE as error:
        raise StoreError(f"{path}: is damaged ({error}); restore it from a backup") from error


def extxyz_bytes(frames: Sequence[Atoms]) -> bytes:
    """Structures as extended XYZ; nothing for none."""
    if not frames:
        return b""
    text = io.StringIO()
    write_frames(text, frames)
    return text.getvalue().encode()


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step, durable once it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # processes on several machines may write the same file, with the same id
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file, alone on this machine and, where the file system can, on others.

    The system lets go of it when this process dies. A file system that knows no locks is
    used without.

    Raises
    ------
    LockedError
        If somebody else holds it and this is not to ``wait``, saying who.
    """
    handle = _lock(path, wait)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _lock(path: Path, wait: bool) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            holder = os.read(handle, 1000).decode(errors="replace").strip()
            os.close(handle)
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                return None
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise LockedError(f"{path}: is held by another process ({holder})") from error
        if _is_at(path, handle):
            with suppress(OSError):  # a full disk is no reason to go without the lock
                os.truncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return handle
        os.close(handle)  # whoever held it has removed the file in between


def _is_at(path: Path, handle: int) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
