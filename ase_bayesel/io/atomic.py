"""Files that are either whole or not there, and errors that name a damaged one."""

from __future__ import annotations

import io
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BayeselError, ConfigError, StoreError
from .bounded_npz import checked_npz
from .formats import KEY, Format

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
def reading(path: Path, form: Format | None = None) -> Iterator[Any]:
    """The arrays of an npz file; whatever is wrong with it ends in an error that names it.

    Parameters
    ----------
    path
        The file.
    form
        What it must be, where it states its own format.

    Raises
    ------
    StoreError
        If it is damaged, or of another format or version.
    """
    refusal = None
    try:
        with (
            open(path, "rb") as handle,
            np.load(checked_npz(handle), allow_pickle=False) as data,
        ):
            if form is not None:
                refusal = form.refusal(data[KEY] if KEY in data.files else None, path)
            if refusal is None:
                yield data
    except DAMAGE as error:
        raise StoreError(f"{path}: is damaged ({error}); restore it from a backup") from error
    if refusal is not None:
        raise StoreError(refusal)


def npz_bytes(arrays: Mapping[str, Any], form: Format | None = None) -> bytes:
    """Arrays as an npz file, which states its format if it has one of its own."""
    buffer = io.BytesIO()
    stated: dict[str, Any] = {} if form is None else {KEY: str(form)}
    np.savez(buffer, **stated, **arrays)
    return buffer.getvalue()


def write_if_changed(path: Path, content: bytes) -> None:
    """`write_atomically`, unless the file holds this already."""
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


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
    sync(path.parent)


def refuse_existing(path: Path) -> None:
    """Raise a `ConfigError` where something lies under a name, a link that leads nowhere too."""
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: exists already; choose another name or remove it")


def sync(path: Path) -> None:
    """Have a file or a folder on disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
