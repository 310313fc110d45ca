"""Trajectories as extended XYZ or in ASE's format."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.io import Trajectory as ASETrajectory

from ...bias.annotation import FORCE_STD
from ...errors import StoreError
from ...structures.frames import extxyz_bytes

CHUNK_FRAMES = 20
"""Frames after which a trajectory is written without being asked."""
STEP = re.compile(rb"\bbayesel_step=(\d+)")


class TrajectoryFile:
    """A trajectory that grows frame by frame.

    Parameters
    ----------
    path
        Ends in ``.traj`` for ASE's format; extended XYZ otherwise.
    last_step
        Frames of later steps are removed, and one that is torn. By default the file must
        be new.

    Raises
    ------
    StoreError
        If there is a file already, or one that was not written here.
    """

    def __init__(self, path: str | Path, last_step: int | None = None) -> None:
        self.path = Path(path)
        if self.path.exists() and self.path.stat().st_size:
            if last_step is None:
                raise StoreError(f"{self.path}: exists already; choose another place")
            (_cut_ase if self._is_ase else _cut_xyz)(self.path, last_step)
        self._waiting: list[Atoms] = []

    @property
    def _is_ase(self) -> bool:
        return self.path.suffix == ".traj"

    def append(self, frames: Sequence[Atoms]) -> None:
        """Add frames of `recorded_frame`; they are on disk after `flush`, or once they are many."""
        self._waiting += frames
        if len(self._waiting) >= CHUNK_FRAMES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        frames, self._waiting = self._waiting, []
        if not frames:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._is_ase:
            _append_ase(self.path, frames)
            return
        with open(self.path, "ab", buffering=0) as handle:
            handle.write(extxyz_bytes(frames))
            os.fsync(handle.fileno())


def _append_ase(path: Path, frames: Sequence[Atoms]) -> None:
    """ASE's format keeps no arrays of its user's: they go into ``info``."""
    with ASETrajectory(path, "a") as handle:
        for frame in frames:
            out = frame.copy()
            if FORCE_STD in out.arrays:
                out.info[FORCE_STD] = out.arrays[FORCE_STD].tolist()
            handle.write(out)


def _cut_ase(path: Path, last_step: int) -> None:
    with ASETrajectory(path) as handle:
        frames = list(handle)
    kept = [frame for frame in frames if frame.info["bayesel_step"] <= last_step]
    if len(kept) < len(frames):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.traj")
        with ASETrajectory(temporary, "w") as handle:
            for frame in kept:
                handle.write(frame)
        os.replace(temporary, path)


def _cut_xyz(path: Path, last_step: int) -> None:
    """Cut an extended XYZ file before the first frame that is torn or of a later step."""
    end = 0
    with open(path, "rb") as handle:
        while first := handle.readline():
            comment = handle.readline()
            step = STEP.search(comment)
            if step is None and comment.endswith(b"\n"):
                raise StoreError(f"{path}: is no recorded trajectory; choose another place")
            if not first.strip().isdigit() or step is None or int(step[1]) > last_step:
                break
            atoms = [handle.readline() for _ in range(int(first))]
            if any(not line.endswith(b"\n") for line in atoms):
                break
            end = handle.tell()
    os.truncate(path, end)
