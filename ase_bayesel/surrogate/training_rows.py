"""Features of a training set with their derivatives, batch by batch, which a store may keep.

A batch is known by its structures, its place and its descriptor. Its features are made together,
or read together, so that they have the same bits whichever it is and whoever asks for them.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from ase import Atoms
from ase.io.jsonio import encode

from .. import __version__
from ..descriptors.base import Descriptor, Features, Sketch
from ..errors import DescriptorError
from ..io.importing import code_of, factory_identity
from .design import BATCH_ATOMS, batches, is_projected, training_features
from .row_store import Arrays, RowStore

Rows = Features | Sketch


@dataclass(frozen=True)
class Batch:
    """A batch of a training set.

    Attributes
    ----------
    where
        Its structures, counted from the first one at hand.
    whole
        Whether it stays as it is when further structures follow.
    name
        Of its features in a store; None where there is no store.
    kept
        Whether the store has room for them.
    """

    where: slice
    whole: bool
    name: str | None
    kept: bool


@dataclass(frozen=True)
class TrainingRows:
    """What a fit takes of each structure, see `training_features`.

    Attributes
    ----------
    frames
        The training set, or one of its `chunks`.
    descriptor
        Gives their features.
    force_projections, first
        As in `training_features`.
    store
        Keeps features, those of the first structures where there is no room for all; None to
        compute them whenever they are asked for.
    """

    frames: Sequence[Atoms]
    descriptor: Descriptor
    force_projections: int | None = None
    first: int = 0
    store: RowStore | None = None

    def planned(self) -> Iterator[tuple[Batch, list[Atoms]]]:
        """Each batch and its structures, which are read for it; nothing is computed."""
        start, n_bytes = 0, 0
        for frames in batches(self.frames):
            where = slice(start, start + len(frames))
            start = where.stop
            n_bytes += sum(self._n_bytes(atoms) for atoms in frames)
            name = self._name(frames, where.start)
            kept = self.store is not None and n_bytes <= self.store.rows_bytes
            whole = sum(map(len, frames)) >= BATCH_ATOMS
            yield Batch(where, whole, name, kept and name is not None), frames

    def of(self, batch: Batch) -> Iterator[Rows]:
        """The features of a batch in order, from the store where it has them."""
        if self.store is None or batch.name is None or not batch.kept:
            return self._computed(batch.where)
        arrays = self.store.load(batch.name)
        if arrays is not None:
            with suppress(KeyError, ValueError, IndexError):
                return iter(_unpacked(arrays, batch.where.stop - batch.where.start))
        arrays = _packed(list(self._computed(batch.where)))
        self.store.save(batch.name, arrays)
        return iter(_unpacked(arrays, batch.where.stop - batch.where.start))

    def touch(self, batch: Batch) -> None:
        """Note that the features of a batch are in use, without reading them."""
        if self.store is not None and batch.name is not None:
            self.store.touch(batch.name)

    def chosen(self, numbers: Sequence[int]) -> Iterator[Rows]:
        """The features of some structures, in this order; of kept ones those of the fit."""
        if self.store is None or self._identity is None:
            frames = [self.frames[k] for k in numbers]
            yield from training_features(frames, self.descriptor, self.force_projections)
            return
        last: Batch | None = None
        rows: list[Rows] = []
        for k in numbers:
            batch = self._batch(k)
            if not batch.kept and self.force_projections is None:
                yield from self._computed(slice(k, k + 1))
                continue
            if batch != last:
                last, rows = batch, list(self.of(batch))
            yield rows[k - batch.where.start]

    def kept(self, number: int) -> bool:
        """Whether the features of a structure are kept."""
        return self._batch(number).kept

    def _batch(self, number: int) -> Batch:
        return self._batches[bisect_right(self._starts, number) - 1]

    @cached_property
    def _batches(self) -> list[Batch]:
        return [batch for batch, _ in self.planned()]

    @cached_property
    def _starts(self) -> list[int]:
        return [batch.where.start for batch in self._batches]

    @cached_property
    def _identity(self) -> bytes | None:
        """What the features are of, and by which code; None where that cannot be said."""
        try:
            spec = dict(self.descriptor.spec())
            code = code_of(self.descriptor, __name__.partition(".")[0])
            if isinstance(factory := spec.get("factory"), str):
                code.append(factory_identity(factory).get("module", ""))
            told = json.dumps([__version__, self.force_projections, code, spec], sort_keys=True)
        except (DescriptorError, OSError, TypeError):
            return None
        return f"{told}\n".encode()

    def _name(self, frames: Sequence[Atoms], start: int) -> str | None:
        if self.store is None or self._identity is None:
            return None
        content = sha256(self._identity)
        if self.force_projections is not None:
            content.update(f"{self.first + start}\n".encode())  # of which the signs depend
        for atoms in frames:
            content.update(_content(atoms))
        return f"rows_{content.hexdigest()[:32]}"

    def _computed(self, where: slice) -> Iterator[Rows]:
        first = self.first + where.start
        frames = list(self.frames[where])
        return training_features(frames, self.descriptor, self.force_projections, first)

    def _n_bytes(self, atoms: Atoms) -> int:
        n_slopes, n_signs = 3 * len(atoms), 0
        if self.force_projections is not None and is_projected(atoms, self.force_projections):
            n_slopes, n_signs = self.force_projections, 3 * len(atoms) * self.force_projections
        return 8 * self.descriptor.n_features * (len(atoms) + n_slopes + 6) + n_signs


def _content(atoms: Atoms) -> bytes:
    """All that a descriptor may read of a structure, to the last bit."""
    parts = [atoms.cell.array.tobytes(), atoms.pbc.tobytes()]
    for name, array in sorted(atoms.arrays.items()):
        parts += [f"{name} {array.dtype} {array.shape} ".encode(), array.tobytes()]
    for name, value in sorted(atoms.info.items(), key=lambda item: str(item[0])):
        try:
            told = encode(value)
        except TypeError:
            told = repr(value)
        parts.append(f"{name} {told} ".encode())
    return b"\n".join(parts)


def _packed(rows: Sequence[Rows]) -> Arrays:
    """The features of a batch in a few arrays."""
    slopes, signs, sizes = [], [np.zeros(0, np.int8)], []
    for each in rows:
        n_signs = 0
        if isinstance(each, Sketch):
            n_signs = len(each.moves)
            slopes.append(each.slopes.ravel())
            signs.append(_small(each.moves).ravel())
        else:
            assert each.jacobian is not None
            slopes.append(each.jacobian.ravel())
        sizes.append((len(each.values), n_signs))
    return {
        "sizes": np.array(sizes),
        "values": np.concatenate([each.values for each in rows]),
        "slopes": np.concatenate(slopes),
        "signs": np.concatenate(signs),
        "strain": np.stack([np.asarray(each.strain) for each in rows]),
    }


def _small(signs: np.ndarray) -> np.ndarray:
    as_bytes = signs.astype(np.int8)
    return as_bytes if np.array_equal(as_bytes, signs) else signs


def _unpacked(arrays: Arrays, n_structures: int) -> list[Rows]:
    """What `_packed` was given; ValueError where it is not so many structures."""
    if len(arrays["sizes"]) != n_structures:
        raise ValueError(f"not the rows of {n_structures} structures")
    found: list[Rows] = []
    n_features, atom, slope, sign = arrays["values"].shape[1], 0, 0, 0
    for (n_atoms, n_signs), strain in zip(arrays["sizes"].tolist(), arrays["strain"], strict=True):
        values = arrays["values"][atom : atom + n_atoms]
        n_slopes = n_features * (n_signs or 3 * n_atoms)
        slopes = arrays["slopes"][slope : slope + n_slopes]
        if n_signs:
            moves = arrays["signs"][sign : sign + 3 * n_atoms * n_signs].astype(float)
            shape = (n_signs, n_atoms, 3)
            found.append(Sketch(values, moves.reshape(shape), slopes.reshape(n_signs, -1), strain))
        else:
            found.append(Features(values, slopes.reshape(n_features, n_atoms, 3), strain))
        atom, slope, sign = atom + n_atoms, slope + n_slopes, sign + 3 * n_atoms * n_signs
    return found
