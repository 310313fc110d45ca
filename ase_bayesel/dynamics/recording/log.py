"""The log of every step, in chunks of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...errors import StoreError
from ...io.atomic import npz_bytes, reading, write_atomically
from ...io.formats import LOG
from .steps import further_columns, joined

CHUNK_ROWS = 10_000
"""Rows after which a log is written without being asked."""


class StepLog:
    """A folder of log files that grows; `read_log` reads it.

    Parameters
    ----------
    folder
        Of this log alone.
    last_steps
        The last step to keep of each walker; by default the log must be new.

    Raises
    ------
    StoreError
        If there is a log already, or it is damaged.
    """

    def __init__(self, folder: str | Path, last_steps: Mapping[int, int] | None = None) -> None:
        self.folder = Path(folder)
        self._waiting: list[np.ndarray] = []
        self._count = 0
        if last_steps is None and _chunks(self.folder):
            raise StoreError(f"{self.folder}: holds a log already; choose another place")
        for path in reversed(_chunks(self.folder)):
            rows = _read_chunk(path)
            last = np.array([(last_steps or {}).get(k, -1) for k in rows["walker"].tolist()])
            kept = rows[rows["step"] <= last]
            if len(kept) == 0:
                path.unlink()
            elif len(kept) < len(rows):
                write_atomically(path, npz_bytes({"rows": kept}, LOG))
        names = [int(path.stem) for path in _chunks(self.folder)]
        self._next = max(names, default=-1) + 1

    def append(self, rows: np.ndarray) -> None:
        """Add rows; they are on disk after `flush`, or once `CHUNK_ROWS` have come together."""
        if len(rows):
            self._waiting.append(rows)
            self._count += len(rows)
        if self._count >= CHUNK_ROWS:
            self.flush()

    def mark_picked(self, walker: int, step: int) -> None:
        """Note that a step's frame was picked."""
        for rows in reversed(self._waiting):
            if _mark(rows, walker, step):
                return
        for path in reversed(_chunks(self.folder)):
            rows = _read_chunk(path)
            if _mark(rows, walker, step):
                write_atomically(path, npz_bytes({"rows": rows}, LOG))
                return

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting:
            rows = joined(self._waiting)
            write_atomically(self.folder / f"{self._next:06d}.npz", npz_bytes({"rows": rows}, LOG))
            self._waiting, self._count, self._next = [], 0, self._next + 1


def read_log(folder: str | Path) -> np.ndarray:
    """All rows ``(n,)`` of a log as a structured array of `LOG_DTYPE`, walker by walker.

    With restraints it has further columns, NaN for walkers without.
    ``rows["energy_std"]`` is a column, ``rows[rows["walker"] == 2]`` one walker's steps.
    """
    chunks = [_read_chunk(path) for path in _chunks(Path(folder))]
    rows = joined(chunks)
    return rows[np.argsort(rows["walker"], kind="stable")]


def _chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.npz"))


def _read_chunk(path: Path) -> np.ndarray:
    with reading(path, LOG) as data:
        rows = data["rows"]
        further_columns(rows)
        return np.asarray(rows)


def _mark(rows: np.ndarray, walker: int, step: int) -> bool:
    """Mark the row of a step, and tell whether it is there."""
    picked = (rows["walker"] == walker) & (rows["step"] == step)
    rows["picked"] |= picked
    return bool(picked.any())
