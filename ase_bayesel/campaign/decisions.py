"""What users have decided of labels that screening has set aside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter

from ..errors import ConfigError, StoreError
from ..io.atomic import write_atomically
from ..io.locks import locked
from .store import Store

Decision = Literal["accepted", "rejected"]
Decisions = Mapping[str, Decision]
"""By identity."""
Content = TypeVar("Content")
DECISIONS = TypeAdapter(dict[str, Decision])


def read_decisions(store: Store) -> dict[str, Decision]:
    """What users have decided so far."""
    return read_named(_decisions_path(store), DECISIONS)


def decide(store: Store, identity: str, decision: Decision) -> None:
    """Note whether a label enters fits, from the next one on.

    Raises
    ------
    ConfigError
        If no pick of that name has a label.
    """
    labelled = [
        label.identity
        for k in range(1, store.completed_rounds() + 1)
        for label in store.read_labelled(k)
        if label.settings is not None
    ]
    if identity not in labelled:
        raise ConfigError(
            f"{store.directory}: has no label of {identity!r}; bayesel status names those set aside"
        )
    with locked(store.directory / "decisions.lock", wait=True):
        decisions = {**read_decisions(store), identity: decision}
        write_atomically(_decisions_path(store), DECISIONS.dump_json(decisions))


def decisions_of_fit(store: Store, number: int) -> dict[str, Decision]:
    """Those that count in the fit of a round: as they were when it began, or as they are."""
    taken = _taken_path(store, number)
    return read_named(taken, DECISIONS) if taken.exists() else read_decisions(store)


def take_decisions(store: Store, number: int) -> None:
    """Keep the decisions that count in the fit of a round, unless that was done before."""
    path = _taken_path(store, number)
    if not path.exists():
        write_atomically(path, DECISIONS.dump_json(read_decisions(store)))


def _taken_path(store: Store, number: int) -> Path:
    return store.round_directory(number) / "decisions.json"


def _decisions_path(store: Store) -> Path:
    return store.directory / "decisions.json"


def read_named(path: Path, form: TypeAdapter[dict[str, Content]]) -> dict[str, Content]:
    """The content of a file, by names; empty if it is not there.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return form.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({error})") from error
