"""Rows of training structures that are kept from one fit to the next, on disk or in memory.

What is kept is known by a name that tells all that it was made from. Nothing depends on whether
it is there: what is gone, damaged or foreign is made again, to the same bits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..io.atomic import npz_bytes, reading, write_atomically
from ..io.formats import ROWS

LIMIT_BYTES = 2 * 2**30
SHARE_OF_ROWS = 0.75
"""Rows of one training set take at most this share; factors and what is out of use the rest."""
NAME = "name"
OURS = re.compile(r"\.?(rows|factors)_[0-9a-f]{32}\.npz.*")
"""Names of files, whole or half written; no other is ever dropped."""

Arrays = Mapping[str, np.ndarray]


class RowStore:
    """Arrays by name, of a limited size: those that were used least recently go first.

    Pass the same one to several fits of a growing training set (`fit_surrogate`): only what is
    new is then computed. A structure of N atoms takes 8 D (4 N + 6) bytes with D features, 440 kB
    at 64 atoms and D = 211; with projections of its forces less.

    Parameters
    ----------
    directory
        Where files lie; made when it is first needed, its parent must exist. None to keep the
        arrays in memory.
    limit_bytes
        Of all arrays. Structures of a training set whose rows take more are computed each time.
    """

    def __init__(
        self, directory: str | PathLike | None = None, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.directory = None if directory is None else Path(directory)
        self.limit_bytes = limit_bytes
        self._held: dict[str, Arrays] = {}

    @property
    def rows_bytes(self) -> float:
        """What the rows of one training set may take."""
        return SHARE_OF_ROWS * self.limit_bytes

    def load(self, name: str) -> Arrays | None:
        """The arrays of a name; None where there are none that are whole."""
        if self.directory is None:
            self.touch(name)
            return self._held.get(name)
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            with reading(path, ROWS) as data:
                arrays = {key: data[key] for key in data.files}
        except StoreError:
            return None
        if str(arrays.pop(NAME, "")) != name:
            return None
        self.touch(name)
        return arrays

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep arrays; a directory that cannot be written keeps none."""
        if self.directory is None:
            self._held.pop(name, None)
            self._held[name] = arrays
            self.tidy()
            return
        with suppress(OSError):
            self.directory.mkdir(exist_ok=True)
            content = npz_bytes({NAME: np.array(name), **arrays}, ROWS)
            write_atomically(self._path(name), content)

    def touch(self, name: str) -> None:
        """Note that a name is in use."""
        if self.directory is None:
            if name in self._held:
                self._held[name] = self._held.pop(name)
            return
        with suppress(OSError):
            os.utime(self._path(name))

    def tidy(self) -> None:
        """Drop what was used least recently, until the rest is within the limit."""
        if self.directory is None:
            total = sum(_n_bytes(arrays) for arrays in self._held.values())
            for name in list(self._held):
                if total <= self.limit_bytes:
                    break
                total -= _n_bytes(self._held.pop(name))
            return
        files = []
        with suppress(OSError):
            for path in filter(lambda path: OURS.fullmatch(path.name), self.directory.iterdir()):
                with suppress(OSError):  # of one that another process has dropped
                    files.append((path.stat(), path))
        total = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if total <= self.limit_bytes:
                break
            with suppress(OSError):
                path.unlink()
                total -= status.st_size

    def _path(self, name: str) -> Path:
        assert self.directory is not None
        return self.directory / f"{name}.npz"


def _n_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
