"""Small JSON files of a campaign."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError

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
