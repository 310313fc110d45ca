"""The training set of a campaign: what was given, and labels that are read when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

from ase import Atoms

from ..errors import StoreError
from ..labelling.store import BY_HAND, LabelStore, with_labels
from ..structures.frames import read_frames
from ..structures.labels import PropertyKeys
from .store import Store


@dataclass(frozen=True)
class TrainingSet(Sequence[Atoms]):
    """All structures behind the model of a round: the given ones first, then the picks in order.

    In the order in which they entered fits, so that those that are new are last, and that no
    place changes where a label is accepted later.

    Picks without a label, and those whose label is set aside, are left out.

    Picks and labels stay on disk, so that memory does not grow with their number; only their
    names are held, and these once something is asked for.

    Attributes
    ----------
    store, number
        The campaign and its round.
    labels
        Where labels lie, but those by hand, which are the campaign's own.
    given
        The structures that a campaign starts with.
    keys
        Of the labels.
    left_out
        Identities of the labels that are set aside.
    entered
        Rounds in whose fit labels came later than they were made.
    """

    store: Store
    number: int
    labels: LabelStore
    given: Sequence[Atoms]
    keys: PropertyKeys
    left_out: frozenset[str] = frozenset()
    entered: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _labelled(self) -> list[tuple[int, int, str, str]]:
        """Round, place in it, identity and settings of each labelled pick."""
        found = [
            (k, pick, label.identity, label.settings)
            for k in range(1, self.number + 1)
            for pick, label in enumerate(self.store.read_labelled(k))
            if label.settings is not None and label.identity not in self.left_out
        ]
        return sorted(found, key=self._since)

    def _since(self, label: tuple[int, int, str, str]) -> int:
        """The round in whose fit a label entered."""
        number, _, identity, _ = label
        return max(number, self.entered.get(identity, number))

    @property
    def n_new(self) -> int:
        """How many structures, the last ones, no fit before has seen."""
        return len(self.new_identities)

    @property
    def new_identities(self) -> list[str]:
        """Identities of these structures, in their order."""
        return [label[2] for label in self._labelled if self._since(label) == self.number]

    def __len__(self) -> int:
        return len(self.given) + len(self._labelled)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        k = index % len(self)
        if k < len(self.given):
            return self.given[k]
        return self._read(*self._labelled[k - len(self.given)])

    def _read(self, number: int, pick: int, identity: str, settings: str) -> Atoms:
        labels = self.store.labels if settings == BY_HAND else self.labels
        values = labels.load(identity, settings)
        if values is None:
            raise StoreError(f"{labels.path(identity, settings)}: is gone; restore it")
        path = self.store.exploration(number).pick_path(pick, identity)
        (atoms,) = read_frames(path, apart=False)
        return with_labels(atoms, values, self.keys)
