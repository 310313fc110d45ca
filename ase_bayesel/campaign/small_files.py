"""Small JSON files of a campaign, and files that are never to change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from ..io.atomic import write_atomically
from ..io.hashing import bytes_hash, content_hash

HASH_SUFFIX = ".sha256"
T = TypeVar("T")


def read_json(path: Path, kind: Callable[[Any], T]) -> T | None:
    """What a file holds, as this kind of value; None without one.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    try:
        return kind(json.loads(path.read_text())) if path.exists() else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: is damaged ({error})") from error


def calibrated(content: Any) -> list[float]:
    """The thresholds in a ``thresholds.json``; ValueError for one that is not positive."""
    thresholds = [float(number) for number in content["calibrated"]]
    if not all(0 < number < float("inf") for number in thresholds):
        raise ValueError("a threshold must be positive")
    return thresholds


def keep(path: Path, content: bytes) -> None:
    """Write a file that is never to change, and beside it the hash by which `check_kept` knows."""
    noted = path.with_suffix(HASH_SUFFIX)
    noted.unlink(missing_ok=True)
    write_atomically(path, content)
    write_atomically(noted, bytes_hash(content).encode())


def check_kept(path: Path) -> None:
    """Refuse a file that `keep` wrote and that is gone, or holds something else.

    Raises
    ------
    StoreError
        Naming it.
    """
    noted = path.with_suffix(HASH_SUFFIX)
    if not noted.exists():
        return
    what = "is gone"
    if path.exists():
        what = (
            "" if content_hash(path) == noted.read_text().strip() else "was changed or is damaged"
        )
    if what:
        raise StoreError(f"{path}: {what}; the campaign cannot go on without it: restore it")
