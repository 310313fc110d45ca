"""Recorders: of one walker, and of a round of a campaign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from ase import Atoms

from ..walker_step import WalkerStep
from .log import StepLog
from .steps import LOG_DTYPE, joined, log_row, recorded_frame
from .trajectory import TrajectoryFile


@dataclass(frozen=True)
class StepRecord:
    """What is to be written of some steps: ``rows (n,)`` of the log, frames of the trajectory."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, LOG_DTYPE))
    frames: tuple[Atoms, ...] = ()


@dataclass(frozen=True)
class Recording:
    """What is recorded of walkers: frames every ``interval`` steps, None for none; and a log."""

    interval: int | None = None
    log: bool = False

    def buffer(self, walker: int, first_step: int) -> StepBuffer:
        """For the steps of a walker from ``first_step`` on."""
        return StepBuffer(self, walker, first_step)


class StepBuffer:
    """Takes up the steps of one walker as values, which may travel to whoever writes them.

    Parameters
    ----------
    recording
        What is taken up.
    walker
        Its number, which frames and rows carry.
    first_step
        Of the iteration over the walker. Its frame there, at 0 alone, was not taken up before.
    """

    def __init__(self, recording: Recording, walker: int = 0, first_step: int = 0) -> None:
        self._recording, self._walker = recording, walker
        self._known = last_recorded(first_step)
        self._rows: list[np.ndarray] = []
        self._frames: list[Atoms] = []

    def add(self, step: WalkerStep) -> None:
        """Take up a step. A stopped walker shows a frame that is there already."""
        if step.step <= self._known:
            return
        if self._recording.log:
            self._rows.append(log_row(step, self._walker))
        interval = self._recording.interval
        if interval is not None and step.step % interval == 0 and step.status == "running":
            self._frames.append(recorded_frame(step, self._walker))

    def take(self) -> StepRecord:
        """What was taken up since the last time."""
        record = StepRecord(joined(self._rows), (*self._frames,))
        self._rows, self._frames = [], []
        return record


def last_recorded(first_step: int) -> int:
    """The last step that is recorded where a walker goes on from a step: none before 0."""
    return first_step if first_step > 0 else -1


class Recorder:
    """Writes the steps of one walker to a trajectory, a log, or both.

    ``for step in recorded(run_walker(...), Recorder("walker.xyz", 10, "walker_log")):``

    To take a walker up again, `flush` before its state is saved, and give the
    step of that state as ``resume_at``: then nothing is missing and nothing there twice.

    Parameters
    ----------
    trajectory
        File, see `TrajectoryFile`; None for none.
    interval
        Steps between frames of the trajectory.
    log
        Folder, see `StepLog`; None for none.
    walker
        Its number, which frames and rows carry.
    resume_at
        Absolute step at which the walker goes on; later frames and rows are removed. By
        default the files must be new.
    """

    def __init__(
        self,
        trajectory: str | Path | None = None,
        interval: int = 1,
        log: str | Path | None = None,
        walker: int = 0,
        resume_at: int | None = None,
    ) -> None:
        last = None if resume_at is None else last_recorded(resume_at)
        self._walker = walker
        self._trajectory = None if trajectory is None else TrajectoryFile(trajectory, last)
        self._log = None if log is None else StepLog(log, None if last is None else {walker: last})
        every = None if trajectory is None else interval
        self._buffer = StepBuffer(Recording(every, log is not None), walker, resume_at or 0)

    def add(self, step: WalkerStep) -> None:
        """StepRecord a step."""
        self._buffer.add(step)
        record = self._buffer.take()
        if self._log is not None:
            self._log.append(record.rows)
        if self._trajectory is not None:
            self._trajectory.append(record.frames)

    def mark_picked(self, step: int) -> None:
        """Note in the log that the frame of a step was picked."""
        if self._log is not None:
            self._log.mark_picked(self._walker, step)

    def flush(self) -> None:
        """All that was added is on disk after this."""
        if self._log is not None:
            self._log.flush()
        if self._trajectory is not None:
            self._trajectory.flush()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()


def recorded(steps: Iterable[WalkerStep], recorder: Recorder) -> Iterator[WalkerStep]:
    """The same steps, each recorded before it is handed on; flushed however the iteration ends."""
    with recorder:
        for step in steps:
            recorder.add(step)
            yield step


class RoundRecorder:
    """Writes what all walkers of a round do: ``log/`` and ``trajectory_K.xyz`` in a folder.

    Parameters
    ----------
    folder
        Of the round.
    recording
        What is recorded.
    steps
        The step at which each walker goes on; what is recorded beyond is removed.
    """

    def __init__(self, folder: Path, recording: Recording, steps: Sequence[int]) -> None:
        self._recording = recording
        last = [last_recorded(step) for step in steps]
        self._log = StepLog(folder / "log", dict(enumerate(last))) if recording.log else None
        self._trajectories = [
            TrajectoryFile(folder / f"trajectory_{walker}.xyz", step)
            for walker, step in enumerate(last)
            if recording.interval is not None
        ]

    def write(self, walker: int, record: StepRecord) -> None:
        """Add what was taken up of a walker."""
        if self._log is not None:
            self._log.append(record.rows)
        if self._trajectories:
            self._trajectories[walker].append(record.frames)

    def flush(self, picked: Iterable[tuple[int, int]] = ()) -> None:
        """All that was added is on disk after this; to be called before the walkers are saved.

        ``picked`` are the walker and step of new picks, to be marked in the log.
        """
        for walker, step in picked:
            if self._log is not None:
                self._log.mark_picked(walker, step)
        if self._log is not None:
            self._log.flush()
        for trajectory in self._trajectories:
            trajectory.flush()
