"""SHA-256 of contents, by which files, settings and structures are told apart."""

from __future__ import annotations

import hashlib
from pathlib import Path


def bytes_hash(content: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits; users may keep the first ones."""
    return hashlib.sha256(content).hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of what a file holds; it is not read as a whole.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_hash(folder: Path, pattern: str = "*") -> str:
    """SHA-256 of the names and contents of a folder's files, those that fit a glob pattern.

    Raises
    ------
    OSError
        If one of them cannot be read.
    """
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    return bytes_hash(b"".join(f"{path.name} {content_hash(path)}\n".encode() for path in paths))
