"""The training set of a campaign: what was given, and labels that are read when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from ase import Atoms

from .errors import StoreError
from .labels import BY_HAND, LabelStore, with_labels
from .store import Store
from .structures import PropertyKeys, read_frames


@dataclass(frozen=True)
class TrainingSet(Sequence[Atoms]):
    """Labelled structures, the given ones first, then the picks in order.

    Picks and labels stay on disk, so that memory does not grow with their number.

    Attributes
    ----------
    given
        The structures that a campaign starts with.
    labelled
        File of each pick, and where its label lies.
    keys
        Of the labels.
    """

    given: Sequence[Atoms]
    labelled: Sequence[tuple[Path, LabelStore, str, str]]
    keys: PropertyKeys

    def __len__(self) -> int:
        return len(self.given) + len(self.labelled)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        k = index % len(self)
        if k < len(self.given):
            return self.given[k]
        path, labels, identity, settings = self.labelled[k - len(self.given)]
        values = labels.load(identity, settings)
        if values is None:
            raise StoreError(
                f"{labels.path(identity, settings)}: is missing; restore it from a backup"
            )
        return with_labels(read_frames(path)[0], values, self.keys)


def training_set(
    store: Store, labels: LabelStore, number: int, given: Sequence[Atoms], keys: PropertyKeys
) -> TrainingSet:
    """All structures behind the model of a round."""
    entries = []
    for k in range(1, number + 1):
        for pick, (identity, settings) in enumerate(store.read_labelled(k)):
            if settings is not None:
                where = store.labels if settings == BY_HAND else labels
                entries.append((store.pick_path(k, pick, identity), where, identity, settings))
    return TrainingSet(given, entries, keys)
