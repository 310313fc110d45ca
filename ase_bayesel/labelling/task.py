"""Reference calculations: one structure, through the engine's fallbacks, to disk.

A failure is a record, never a crash. A label is on disk before the task that made it
returns, so that a worker that is lost never costs a finished calculation.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ..errors import (
    ConfigError,
    EngineError,
    LabellingError,
    MissingProgramError,
    ResultError,
    StoreError,
    TerminatedError,
)
from ..io.atomic import write_atomically
from ..io.failures import is_failure, reason_of
from ..io.hashing import bytes_hash
from ..resources.marks import marked
from ..structures.identity import structure_id
from ..structures.labels import PropertyKeys, absurd
from ..structures.results import energy_of, forces_of, stress_of, untouched
from .engines import Engine, ReferenceResult, settings_hash
from .reference import Reference, properties_of
from .store import Label, LabelStore, label_bytes, read_label, with_labels

FATAL = (MissingProgramError, ConfigError, TerminatedError)
"""What says nothing about the structure: no record is made of it."""
ROOM_BYTES = 1 << 20
"""Where less is free on a disk, a calculation that failed there has failed for want of it."""


def compute(
    atoms: Atoms,
    engine: Engine,
    properties: Sequence[str],
    attempt: int = 0,
    directory: Path | None = None,
) -> Label:
    """Label one structure in one setting; whatever is wrong with it becomes a failed record.

    What the engine starts ends with this process (`marked`).

    Parameters
    ----------
    directory
        Empty, where the engine works; None for a temporary one.

    Raises
    ------
    MissingProgramError, ConfigError
        If no structure could be computed: a program or package is not there.
    TerminatedError
        If somebody ended the engine.
    StoreError
        If the disk is full.
    """
    if directory is None:
        with tempfile.TemporaryDirectory() as temporary:
            return compute(atoms, engine, properties, attempt, Path(temporary))
    settings = settings_hash(engine.only(atoms.symbols).identity(attempt), properties)
    label = Label(atoms, settings, engine.name, attempt=attempt, host=socket.gethostname())
    start = time.perf_counter()
    try:
        if (refused := engine.refusal(atoms)) is not None:
            raise EngineError(refused)
        given = atoms.copy()
        with untouched(given), marked():
            values = engine.evaluate(given, directory, attempt, properties)
        values = _checked(values, atoms, properties)
    except FATAL:
        raise
    except ImportError as error:
        raise MissingProgramError(f"{engine.name}: {error}; install it there") from error
    except BaseException as error:  # engines raise anything; the reason is kept in the record
        if not is_failure(error):
            raise
        reason = reason_of(error)
        if _is_full(directory, reason):
            raise StoreError(f"{directory}: the disk is full ({reason})") from error
        return replace(label, reason=reason, wall_s=time.perf_counter() - start)
    return replace(label, values=values, wall_s=time.perf_counter() - start)


def _is_full(directory: Path, reason: str) -> bool:
    """Whether a calculation failed for want of space, or of a user's share of it."""
    told = any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT))
    return told or shutil.disk_usage(directory).free < ROOM_BYTES


def _checked(values: ReferenceResult, atoms: Atoms, properties: Sequence[str]) -> ReferenceResult:
    """The results that were asked for, if they are what they have to be, and nothing else."""
    if not isinstance(values, ReferenceResult):
        raise ResultError(f"the engine returned no ReferenceResult but {type(values).__name__}")
    forces = stress = None
    if "forces" in properties:
        forces = forces_of(values.forces, len(atoms))
    if "stress" in properties and atoms.pbc.all():
        stress = stress_of(values.stress)
    checked = ReferenceResult(energy_of(values.energy), forces, stress, str(values.version))
    for name in ("energy", "forces", "stress"):
        value = getattr(checked, name)
        if value is not None and not np.isfinite(value).all():
            raise FloatingPointError(f"the engine returned a {name} that is not finite")
        if value is None:
            continue
        prop = "virial" if name == "stress" else name
        scale = atoms.get_volume() if name == "stress" else 1.0
        if told := absurd(prop, np.multiply(value, scale), len(atoms)):
            what = "a stress whose virial is" if name == "stress" else f"{name} of"
            raise ResultError(f"the engine returned {what} {told}")
    return checked


def labelled(frames: Sequence[Atoms], engine: Engine, keys: PropertyKeys) -> list[Atoms]:
    """Structures with labels by the first setting of an engine, for data that must be whole.

    Raises
    ------
    LabellingError
        For the first structure whose calculation fails, with its number and the reason.
    """
    out = []
    for k, atoms in enumerate(frames):
        label = compute(atoms, engine, properties_of(keys))
        if label.values is None:
            raise LabellingError(f"structure {k}: {label.reason}")
        out.append(with_labels(atoms, label.values, keys))
    return out


@dataclass(frozen=True)
class LabellingResult:
    """How the labelling of a structure ended: labelled, or given up with the last reason."""

    structure_id: str
    ok: bool
    reason: str = ""


def label_task(atoms: Atoms, reference: Reference, settings: tuple[str, ...]) -> LabellingResult:
    """Label one structure by the first attempt that succeeds; what is on disk is not done again.

    Parameters
    ----------
    settings
        ``reference.settings(atoms.symbols)``, as they were when the run began.

    Raises
    ------
    MissingProgramError, ConfigError, TerminatedError
        As `compute`. Nothing is recorded then.
    StoreError
        If the label or the record cannot be written.
    """
    store, identity = reference.store, structure_id(atoms)
    for attempt, name in enumerate(settings):
        with store.claim(identity, name):
            if store.path(identity, name).exists():
                return LabellingResult(identity, True)
            if not store.failed(identity, name):
                _compute_and_save(atoms, reference, attempt, name)
            if store.path(identity, name).exists():
                return LabellingResult(identity, True)
    return LabellingResult(identity, False, store.reason(identity, settings[-1]))


def _compute_and_save(atoms: Atoms, reference: Reference, attempt: int, settings: str) -> None:
    store, identity = reference.store, structure_id(atoms)
    if _adopt_rescued(store, identity, settings):
        return
    engine = reference.engine.only(atoms.symbols)
    if settings_hash(engine.identity(attempt), reference.properties) != settings:
        raise ConfigError(
            f"labelling: files of the engine on {socket.gethostname()} are not those with which "
            "this run began (pseudopotentials, models, ...); labels of two kinds would be mixed"
        )
    with _workplace(reference, identity, settings) as directory:
        label = compute(atoms, reference.engine, reference.properties, attempt, directory)
        try:
            if not label.ok or reference.keep_output:
                label = replace(label, output=_keep(directory, store.output(identity, settings)))
            store.save(label)
        except OSError as error:
            _rescue(label, error)


@contextmanager
def _workplace(reference: Reference, identity: str, settings: str) -> Iterator[Path]:
    """An empty directory for a calculation; what an earlier one left there is removed."""
    directory = reference.store.running(identity, settings)
    if reference.scratch is not None:
        # only those who share a store take turns
        owner = bytes_hash(os.fsencode(reference.directory))[:8]
        directory = reference.scratch / f"{owner}_{settings}_{identity}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _keep(directory: Path, place: Path) -> Path | None:
    """Move an engine's directory to where it is kept; None if it is empty."""
    shutil.rmtree(place, ignore_errors=True)
    if not any(directory.iterdir()):
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(directory, place))


def _rescued(identity: str, settings: str) -> Path:
    return Path(tempfile.gettempdir()) / f"ase_bayesel_{os.getuid()}_{settings}_{identity}.extxyz"


def _rescue(label: Label, error: OSError) -> None:
    """Keep a label that has no space in its store, and tell where."""
    place = _rescued(label.structure_id, label.settings)
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    told = f"{what}: the outcome of a calculation cannot be written"
    if not label.ok:
        raise StoreError(f"{told}; free some space and run again") from error
    try:
        write_atomically(place, label_bytes(label))
    except OSError:
        raise StoreError(f"{told}, nor to {place}; free some space and run again") from error
    raise StoreError(
        f"{told}. The label is kept as {place} and taken from there; free some space and run again"
    ) from error


def _adopt_rescued(store: LabelStore, identity: str, settings: str) -> bool:
    place = _rescued(identity, settings)
    if not place.exists() or place.lstat().st_uid != os.getuid() or place.is_symlink():
        return False
    read_label(place, identity)
    write_atomically(store.path(identity, settings), place.read_bytes())
    place.unlink()
    return True


def is_settled(store: LabelStore, settings: Sequence[str], identity: str) -> bool:
    """Whether a structure has a label, or has failed on every attempt."""
    if label_of(store, settings, identity) is not None:
        return True
    return all(store.failed(identity, name) for name in settings)


def label_of(store: LabelStore, settings: Sequence[str], identity: str) -> str | None:
    """The first settings in which a structure is labelled; None if it is in none."""
    return next((name for name in settings if store.path(identity, name).exists()), None)
