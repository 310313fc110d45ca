"""Feature rows of structures, computed once and kept on disk.

One file per descriptor holds records of a structure's id and its feature row phi, appended
a batch at a time by a single write. A kill leaves at most one torn record at the end, which
the next opening drops; whole records are never touched again. Only energy rows are kept:
force and virial rows take 3 n_atoms times the space and are needed for a few structures.
"""

from __future__ import annotations

import json
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms

from ..descriptors.base import Descriptor
from ..errors import StoreError, StructureError
from ..io.atomic import write_atomically
from ..io.formats import FEATURES, KEY
from ..io.hashing import bytes_hash
from ..resources import ProcessPool, open_executor
from ..resources.threads import cpu_threads
from ..structures.checks import check_structure
from ..structures.copies import Copies
from ..structures.frames import iterate_frames
from ..structures.identity import structure_id
from ..surrogate.design import BATCH_ATOMS

ID_BYTES = 16
Frames = Iterable[Atoms] | str | PathLike
"""Structures, or a file of them, which is streamed."""


@dataclass(frozen=True)
class PoolFeatures:
    """Feature rows of a pool.

    Attributes
    ----------
    ids
        ``structure_id`` of each of the M structures.
    rows
        ``(M, D)`` feature rows; memory-mapped where a store holds them in this order.
    n_atoms
        ``(M,)``.
    firsts
        The id of the first structure of which each is a copy (`Copies`); its own, where new.
    """

    ids: tuple[str, ...]
    rows: np.ndarray
    n_atoms: np.ndarray
    firsts: tuple[str, ...]


class FeatureStore:
    """Feature rows of one descriptor in a directory, by `structures.structure_id`.

    The file's name holds a hash of the descriptor's spec, so that several descriptors share a
    directory. Several processes may append at a time on a local file system.

    Parameters
    ----------
    directory
        Made where it does not exist.
    descriptor
        What the rows are of.

    Raises
    ------
    StoreError
        If the directory cannot be used, or the file is damaged or of a later version. A
        flipped bit within a finite row is not noticed.
    """

    def __init__(self, directory: str | PathLike, descriptor: Descriptor) -> None:
        spec = json.dumps(descriptor.spec(), sort_keys=True)
        digest = bytes_hash(spec.encode())[:16]
        self.path = Path(directory) / f"{digest}.rows"
        self._record = np.dtype([("id", f"S{ID_BYTES}"), ("row", "<f8", (descriptor.n_features,))])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._state_format(descriptor)
            self.path.touch()
        except OSError as error:
            raise StoreError(f"{directory}: cannot keep features ({error.strerror})") from error
        os.truncate(self.path, self._n_whole() * self._record.itemsize)
        self._places: dict[str, int] = {}
        self._n_seen = 0
        self._look()

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Append rows ``(k, D)``; a name that is there already keeps its old row."""
        records = np.zeros(len(names), self._record)
        records["id"], records["row"] = [_key(name) for name in names], rows
        with open(self.path, "ab") as handle:
            handle.write(records.tobytes())
        self._look()

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """``(len(names), D)``; a memory-mapped view where they lie in this order, else a copy.

        Raises
        ------
        StoreError
            If one of them is not finite, as none was when it was written.
        """
        rows = self._records()["row"]
        places = np.array([self._places[_key(name)] for name in names], int)
        if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            chosen = rows[places[0] : places[0] + len(places)]
        else:
            chosen = rows[places]
        with np.errstate(all="ignore"):
            if not np.isfinite(chosen.sum()):
                raise self._damaged()
        return chosen

    def _state_format(self, descriptor: Descriptor) -> None:
        """Note beside the rows what they are; refuse those of a later version."""
        path = self.path.with_suffix(".json")
        header = json.dumps({KEY: str(FEATURES), "descriptor": descriptor.spec()}, sort_keys=True)
        try:
            noted = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):  # new, or torn by a kill
            noted = None
        if isinstance(noted, dict):
            FEATURES.check(noted.get(KEY), path)
        if noted != json.loads(header):
            write_atomically(path, header.encode())

    def _damaged(self) -> StoreError:
        return StoreError(f"{self.path}: is damaged; remove it, and its features are made again")

    def _n_whole(self) -> int:
        return self.path.stat().st_size // self._record.itemsize

    def _records(self) -> np.ndarray:
        count = self._n_whole()
        if count == 0:
            return np.empty(0, self._record)
        return np.memmap(self.path, self._record, mode="r", shape=(count,))

    def _look(self) -> None:
        names = self._records()["id"]
        for place in range(self._n_seen, len(names)):
            try:
                self._places.setdefault(names[place].decode(), place)
            except UnicodeDecodeError as error:
                raise self._damaged() from error
        self._n_seen = len(names)


def _key(name: str) -> str:
    """What stands for a structure in the file: its id, or of one with moments a hash of it."""
    return name if len(name) <= ID_BYTES else f"m{bytes_hash(name.encode())[: ID_BYTES - 1]}"


class _Memory:
    """What `FeatureStore` does, without a disk."""

    def __init__(self) -> None:
        self._rows: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, names: Sequence[str], rows: np.ndarray) -> None:
        self._rows.update(zip(names, rows, strict=True))

    def rows(self, names: Sequence[str]) -> np.ndarray:
        return np.array([self._rows[name] for name in names])


def pool_features(
    frames: Frames,
    descriptor: Descriptor,
    store: FeatureStore | None = None,
    processes: int = 1,
    on_progress: Callable[[int], None] | None = None,
    where: str = "pool",
    copies: Copies | None = None,
) -> PoolFeatures:
    """Feature rows of structures, in batches; those in the store are not computed again.

    Parameters
    ----------
    frames
        Structures or the path of a file, read one by one.
    descriptor
        What to compute; with more than one process it must be picklable, and of a module that
        the processes can import.
    store
        Where rows are looked up and kept, batch by batch.
    processes
        How many compute at a time; 1 stays in this process.
    on_progress
        Called with the number of structures that are done.
    where
        What messages call the structures; those of a file are called by its path.
    copies
        Knows the structures of which these may be copies; none by default.

    Raises
    ------
    StructureError
        Naming the structure that cannot be used or whose features are not finite.
    LostTaskError
        If several processes have died over the same structures.
    """
    table = _Memory() if store is None else store
    where = f"{frames}," if isinstance(frames, str | PathLike) else where
    names: list[str] = []
    sizes: list[int] = []
    firsts: list[str] = []
    known = Copies() if copies is None else copies

    def checked(stream: Iterable[Atoms]) -> Iterator[Atoms]:
        for number, atoms in enumerate(stream):
            check_structure(atoms, f"{where} frame {number}")
            yield atoms

    def noted(stream: Iterable[Atoms]) -> Iterator[Atoms]:
        for atoms in stream:
            if unknown := sorted(set(atoms.symbols) - set(descriptor.elements)):
                raise StructureError(
                    f"{where} frame {len(names)}: element {', '.join(unknown)} is not among the "
                    f"descriptor's elements {list(descriptor.elements)}"
                )
            names.append(structure_id(atoms))
            sizes.append(len(atoms))
            firsts.append(known.first(atoms, names[-1]))
            yield atoms

    given = iterate_frames(frames) if isinstance(frames, str | PathLike) else checked(frames)
    for batch in _computed(_batches(noted(given), table, names), descriptor, processes):
        numbers, rows = batch
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            number = numbers[int(np.argmin(finite))]
            raise StructureError(f"{where} frame {number}: its features are not finite")
        if numbers:
            table.add([names[number] for number in numbers], rows)
        if on_progress is not None:
            on_progress(len(names))
    return PoolFeatures(tuple(names), table.rows(names), np.array(sizes, int), tuple(firsts))


Batch = tuple[list[int], list[Atoms]]
"""Numbers of the structures of a batch, and the structures."""


def _batches(
    stream: Iterable[Atoms], table: FeatureStore | _Memory, names: Sequence[str]
) -> Iterator[Batch]:
    """Structures that are to be computed; ``names`` are noted as the stream goes on."""
    numbers: list[int] = []
    batch: list[Atoms] = []
    waiting: set[str] = set()
    for number, atoms in enumerate(stream):
        if names[-1] not in table and names[-1] not in waiting:
            waiting.add(names[-1])
            numbers.append(number)
            batch.append(atoms)
        if sum(map(len, batch)) >= BATCH_ATOMS:
            yield numbers, batch
            numbers, batch = [], []
    yield numbers, batch


def _computed(
    batches: Iterable[Batch], descriptor: Descriptor, processes: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers and rows ``(k, D)`` of each batch, in order; a few batches wait at a time."""
    if processes == 1:
        for numbers, batch in batches:
            yield numbers, _rows(descriptor, batch)
        return
    running: deque[tuple[list[int], Future[np.ndarray]]] = deque()
    with (
        TemporaryDirectory() as folder,
        open_executor(ProcessPool(processes)) as executor,
    ):
        pickled = Path(folder) / "descriptor"  # once, not with every batch: it may hold a network
        pickled.write_bytes(pickle.dumps(descriptor))
        for numbers, batch in batches:
            running.append((numbers, executor.submit(rows_elsewhere, pickled, batch)))
            if len(running) > 2 * processes:
                first, future = running.popleft()
                yield first, future.result()
        for first, future in running:
            yield first, future.result()


def _rows(descriptor: Descriptor, batch: list[Atoms]) -> np.ndarray:
    rows = [features.total for features in descriptor.compute(batch)]
    return np.array(rows).reshape(len(batch), descriptor.n_features)


def rows_elsewhere(pickled: Path, batch: list[Atoms]) -> np.ndarray:
    """The task: rows ``(k, D)`` of a batch, by a descriptor in a file, with one thread."""
    with cpu_threads(1):
        return _rows(_unpickled(pickled), batch)


@lru_cache(maxsize=1)
def _unpickled(path: Path) -> Descriptor:
    """What this run has left for its workers."""
    descriptor: Descriptor = pickle.loads(path.read_bytes())
    return descriptor
