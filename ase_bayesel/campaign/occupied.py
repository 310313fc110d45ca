"""Where a campaign writes: directories with nothing of others, folders that can be made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, StoreError
from .store import Store

if TYPE_CHECKING:
    from .config import LabelsConfig

NAMES = (
    *("inputs", "round_[0-9]*", "report.html", "settings.json", "thresholds.json"),
    *("changes.jsonl", "decisions.json", "ace_passes"),
)
"""What a campaign replaces or renames; a file of labels is never replaced."""


def check_unoccupied(directory: Path) -> None:
    """Refuse to begin in a directory where files of somebody else would be replaced.

    Other files are left alone. Where a campaign has begun to set up the directory and was
    interrupted, it says so by its file ``format``, and its inputs are made anew.

    Raises
    ------
    StoreError
        Naming what is there.
    """
    there = sorted(path.name for name in NAMES for path in directory.glob(name))
    begun = (directory / "format").is_file()
    if begun and any(name.startswith("round_") for name in there):
        raise StoreError(
            f"{directory / 'config.yaml'}: is gone, and without it the campaign here cannot go on; "
            "put it back from a backup, or begin in another directory"
        )
    if there and not begun:
        raise StoreError(
            f"{directory}: holds {', '.join(there[:5])}, which no campaign has made, and one would "
            "write there; choose another directory with -d"
        )


def check_folders(labels: LabelsConfig) -> None:
    """Refuse folders of labels that cannot be made here.

    The one of calculations may be on other machines, and is only to be no file here.

    Raises
    ------
    ConfigError
        Naming the field of the config.
    """
    for field, path in (("store", labels.store), ("scratch", labels.scratch)):
        if path is None:
            continue
        there = next(place for place in (path, *path.parents) if place.exists())
        if not there.is_dir():
            raise ConfigError(f"labels.{field}: {path} can be no folder, for {there} is a file")
        if field == "store" and not os.access(there, os.W_OK):
            raise ConfigError(f"labels.store: nothing may be written into {there}")


def check_in_place(store: Store, held: Callable[[], bool]) -> None:
    """Refuse to go on where the directory, or the lock in it, is no longer where it was.

    Raises
    ------
    StoreError
        If it was moved, or its config has gone.
    """
    if not held() or not store.exists:
        raise StoreError(
            f"{store.directory}: was moved, renamed or emptied while the campaign ran. Bring it "
            "back here, with what may have been written here since, and run again; or run again "
            "with -d where it is now"
        )
