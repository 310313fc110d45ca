"""How structures are labelled, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from ..structures.labels import PropertyKeys
from .engines import Engine, settings_hash
from .store import LabelStore


@dataclass(frozen=True)
class Reference:
    """How structures are labelled: an engine, what of it, and where the labels lie.

    Attributes
    ----------
    engine
        Computes.
    properties
        Some of energy, forces, stress.
    directory
        Of the `LabelStore`.
    keep_output
        Keep the engine's directory also where the calculation has succeeded.
    scratch
        Where calculations run; None for beside the labels.
    """

    engine: Engine
    properties: tuple[str, ...]
    directory: Path
    keep_output: bool = False
    scratch: Path | None = None
    _names: dict[frozenset[str], tuple[str, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def store(self) -> LabelStore:
        """Where the labels lie."""
        return LabelStore(self.directory)

    def settings(self, elements: Iterable[str]) -> tuple[str, ...]:
        """The name of the settings of each attempt, for structures of these elements.

        What the engine holds for other elements does not count. Its files are read once.
        """
        wanted = frozenset(elements)
        if wanted not in self._names:
            self._names[wanted] = tuple(
                settings_hash(identity, self.properties) for identity in self._identities(wanted)
            )
        return self._names[wanted]

    def settings_of(self, atoms: Atoms) -> tuple[str, ...]:
        """`settings` for the elements of a structure."""
        return self.settings(atoms.symbols)

    def describe(self, elements: Iterable[str]) -> None:
        """Note beside the labels what the names of the settings stand for."""
        wanted = frozenset(elements)
        for name, identity in zip(self.settings(wanted), self._identities(wanted), strict=True):
            self.store.describe(name, {**identity, "computed": self.properties})

    def _identities(self, elements: Iterable[str]) -> list[dict[str, Any]]:
        engine = self.engine.only(elements)
        return [engine.identity(k) for k in range(engine.n_attempts)]


def properties_of(keys: PropertyKeys) -> tuple[str, ...]:
    """What has to be computed for labels under these keys."""
    wanted = {"energy": True, "forces": keys.forces, "stress": keys.virial}
    return tuple(name for name, key in wanted.items() if key)
