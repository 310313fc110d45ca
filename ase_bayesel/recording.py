"""What walkers did: trajectories with uncertainties, and a compact log of every step.

A trajectory is extended XYZ, or ASE's own format where its name ends in ``.traj``. The log is
a folder of npz files, each with some rows of `LOG_DTYPE` and each written in one step.
Nothing is evaluated for either: they hold what the MD has at hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from ase import Atoms, units
from ase.io import Trajectory as ASETrajectory

from .errors import StoreError
from .files import extxyz_bytes, npz_bytes, reading, write_atomically
from .prediction import Prediction
from .structures import canonical
from .walkers import WalkerStep

LOG_DTYPE = np.dtype(
    [
        ("walker", "i4"),
        ("step", "i8"),
        ("temperature_K", "f8"),
        ("energy", "f8"),
        ("energy_std", "f8"),
        ("tau", "f8"),
        ("bias_energy", "f8"),
        ("volume", "f8"),
        ("pressure_GPa", "f8"),
        ("trigger_value", "f8"),
        ("status", "S20"),
        ("picked", "?"),
    ]
)
"""Columns of the log; energies are totals in eV, the volume in A^3. NaN where not at hand.

``energy`` is the unbiased one and ``energy_std`` sigma_E. The pressure is that of the unbiased
potential with its kinetic part. ``trigger_value`` is that of the trigger that fired, or else
of the first one. ``status`` is the walker's, ``picked`` whether this step's frame was picked.
"""

CHUNK_ROWS = 10_000
"""Rows after which a log is written without being asked."""

STEP = re.compile(rb"\bbayesel_step=(\d+)")


def log_row(step: WalkerStep, walker: int = 0) -> np.ndarray:
    """The row ``(1,)`` of a step, of `LOG_DTYPE`."""
    atoms, found = step.atoms, step.prediction
    row = np.zeros(1, LOG_DTYPE)
    row["walker"], row["step"] = walker, step.step
    row["temperature_K"], row["status"] = step.temperature_K, step.status.encode()
    for name in ("energy", "energy_std", "tau", "bias_energy"):
        row[name] = np.nan if found is None else getattr(found, name)
    row["volume"] = atoms.get_volume() if atoms.pbc.all() else np.nan
    row["pressure_GPa"] = _pressure(atoms, found)
    report = step.fired or next(iter(step.reports), None)
    row["trigger_value"] = np.nan if report is None else report.value
    return row


def _pressure(atoms: Atoms, found: Prediction | None) -> float:
    if found is None or not found.separated or found.stress is None:
        return np.nan
    kinetic = 2.0 * atoms.get_kinetic_energy() / (3.0 * atoms.get_volume())
    return float((kinetic - found.stress[:3].mean()) / units.GPa)


def recorded_frame(step: WalkerStep, walker: int = 0) -> Atoms:
    """The frame of a step with its momenta, and with what is known of it under ``bayesel_`` keys.

    ``info`` has the walker, step, temperature and status; energies unbiased and biased,
    sigma_E and tau; and each trigger's value, as ``bayesel_value_force``. Only where they are
    known already, ``arrays`` has ``bayesel_force_std (n_atoms,)``, eV/A. No key can be
    taken for a label.
    """
    frame, found = canonical(step.atoms), step.prediction
    frame.set_momenta(step.atoms.get_momenta(), apply_constraint=False)
    frame.info = {
        "bayesel_walker": walker,
        "bayesel_step": step.step,
        "bayesel_temperature_K": step.temperature_K,
        "bayesel_status": step.status,
        **{f"bayesel_value_{report.name}": report.value for report in step.reports},
    }
    if found is not None:
        frame.info |= {
            "bayesel_energy": found.energy,
            "bayesel_biased_energy": found.energy + found.bias_energy,
            "bayesel_energy_std": found.energy_std,
            "bayesel_tau": found.tau,
        }
        if found.known_force_std is not None:
            frame.arrays["bayesel_force_std"] = found.known_force_std.copy()
    return frame


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
        if last_steps is None and _chunks(self.folder):
            raise StoreError(f"{self.folder}: holds a log already; choose another place")
        for path in reversed(_chunks(self.folder)):
            rows = _read_chunk(path)
            last = np.array([(last_steps or {}).get(k, -1) for k in rows["walker"].tolist()])
            kept = rows[rows["step"] <= last]
            if len(kept) == 0:
                path.unlink()
            elif len(kept) < len(rows):
                write_atomically(path, npz_bytes({"rows": kept}))
        names = [int(path.stem) for path in _chunks(self.folder)]
        self._next = max(names, default=-1) + 1

    def append(self, rows: np.ndarray) -> None:
        """Add rows; they are on disk after `flush`, or once `CHUNK_ROWS` have come together."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= CHUNK_ROWS:
            self.flush()

    def mark_picked(self, walker: int, step: int) -> None:
        """Note that a step's frame was picked."""
        for rows in reversed(self._waiting):
            if _mark(rows, walker, step):
                return
        for path in reversed(_chunks(self.folder)):
            rows = _read_chunk(path)
            if _mark(rows, walker, step):
                write_atomically(path, npz_bytes({"rows": rows}))
                return

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting:
            rows = np.concatenate(self._waiting)
            write_atomically(self.folder / f"{self._next:06d}.npz", npz_bytes({"rows": rows}))
            self._waiting, self._next = [], self._next + 1


def read_log(folder: str | Path) -> np.ndarray:
    """All rows ``(n,)`` of a log as a structured array of `LOG_DTYPE`, walker by walker.

    ``rows["energy_std"]`` is a column, ``rows[rows["walker"] == 2]`` one walker's steps.
    """
    chunks = [_read_chunk(path) for path in _chunks(Path(folder))]
    rows = np.concatenate([np.zeros(0, LOG_DTYPE), *chunks])
    return rows[np.argsort(rows["walker"], kind="stable")]


def _chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.npz"))


def _read_chunk(path: Path) -> np.ndarray:
    with reading(path) as data:
        return data["rows"].astype(LOG_DTYPE)


def _mark(rows: np.ndarray, walker: int, step: int) -> bool:
    found = (rows["walker"] == walker) & (rows["step"] == step)
    rows["picked"] |= found
    return bool(found.any())


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
        If there is a file already.
    """

    def __init__(self, path: str | Path, last_step: int | None = None) -> None:
        self.path = Path(path)
        if self.path.exists() and self.path.stat().st_size:
            if last_step is None:
                raise StoreError(f"{self.path}: exists already; choose another place")
            (_cut_ase if self._is_ase else _cut_xyz)(self.path, last_step)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def _is_ase(self) -> bool:
        return self.path.suffix == ".traj"

    def append(self, frames: Sequence[Atoms]) -> None:
        """Add frames of `recorded_frame`."""
        if not frames:
            return
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
            if "bayesel_force_std" in out.arrays:
                out.info["bayesel_force_std"] = out.arrays["bayesel_force_std"].tolist()
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
            found = STEP.search(comment)
            if not first.strip().isdigit() or found is None or int(found[1]) > last_step:
                break
            atoms = [handle.readline() for _ in range(int(first))]
            if any(not line.endswith(b"\n") for line in atoms):
                break
            end = handle.tell()
    os.truncate(path, end)


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
        Absolute step at which the walker goes on; later frames and rows are removed.
    """

    def __init__(
        self,
        trajectory: str | Path | None = None,
        interval: int = 1,
        log: str | Path | None = None,
        walker: int = 0,
        resume_at: int | None = None,
    ) -> None:
        self.interval, self.walker = interval, walker
        last = None if resume_at is None else last_recorded(resume_at)
        self._trajectory = None if trajectory is None else TrajectoryFile(trajectory, last)
        self._log = None if log is None else StepLog(log, None if last is None else {walker: last})
        self._repeated = last

    def add(self, step: WalkerStep) -> None:
        """Record a step; the frame at which a walker is taken up again is recorded already."""
        repeated, self._repeated = self._repeated, None
        if step.step == repeated:
            return
        if self._log is not None:
            self._log.append(log_row(step, self.walker))
        if self._trajectory is not None and is_due(step, self.interval):
            self._trajectory.append([recorded_frame(step, self.walker)])

    def mark_picked(self, step: int) -> None:
        """Note in the log that the frame of a step was picked."""
        if self._log is not None:
            self._log.mark_picked(self.walker, step)

    def flush(self) -> None:
        """All that was added is on disk after this."""
        if self._log is not None:
            self._log.flush()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()


def last_recorded(resume_at: int) -> int:
    """The last step to keep where a walker is taken up at a step: its first frame is at 0."""
    return resume_at if resume_at > 0 else -1


def is_due(step: WalkerStep, interval: int) -> bool:
    """Whether a trajectory takes a step's frame; what a stopped walker shows is there already."""
    return step.status == "running" and step.step % interval == 0


def recorded(steps: Iterable[WalkerStep], recorder: Recorder) -> Iterator[WalkerStep]:
    """The same steps, each recorded before it is handed on; flushed however the iteration ends."""
    with recorder:
        for step in steps:
            recorder.add(step)
            yield step
