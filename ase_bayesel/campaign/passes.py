"""One way through linear ACE for a whole campaign, so that its bits do not hang on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..descriptors.compiled import SWITCH, wanted
from ..errors import ConfigError, StoreError
from ..io.atomic import write_atomically
from .config.campaign import CampaignConfig
from .store import Store

COMPILED, PLAIN = "compiled", "plain"


@contextmanager
def same_passes(config: CampaignConfig, store: Store) -> Iterator[None]:
    """Evaluate linear ACE as a campaign did from its first run on.

    The first run notes whether it has compiled passes. Both ways agree up to rounding, by which
    trajectories part after some picoseconds. What the environment variable `SWITCH` says counts
    more, and is noted. Processes that are started meanwhile do as this one; workers elsewhere
    read the note.

    Raises
    ------
    ConfigError
        If the campaign began with compiled passes and there are none here.
    StoreError
        If the note is damaged.
    """
    if config.descriptor.kind != "ace":
        yield
        return
    chosen, ours = os.environ.get(SWITCH), _noted(store)
    os.environ[SWITCH] = "1" if ours == COMPILED else "0"
    try:
        yield
    finally:
        os.environ.pop(SWITCH, None)
        if chosen is not None:
            os.environ[SWITCH] = chosen


def check_passes(config: CampaignConfig, store: Store) -> None:
    """Refuse what `same_passes` refuses; nothing is noted.

    Raises
    ------
    ConfigError, StoreError
        As `same_passes`.
    """
    if config.descriptor.kind == "ace":
        _read_note(store)


def _read_note(store: Store) -> str | None:
    """The way of this campaign, which has to be here; None where there is no note yet."""
    path = _note_of(store)
    noted = path.read_bytes().decode(errors="replace").strip() if path.exists() else None
    if noted not in (None, COMPILED, PLAIN):
        raise StoreError(f"{path}: is damaged: expected {COMPILED} or {PLAIN}, got {noted[:20]!r}")
    if noted == COMPILED and not wanted() and os.environ.get(SWITCH) != "0":
        raise ConfigError(
            f"{store.directory}: this campaign began with compiled passes of linear ACE, which are "
            "not here; install them (pip install 'ase_bayesel[fast]'), or go on without them by "
            f"{SWITCH}=0 in the environment: results then differ by rounding"
        )
    return noted


def _noted(store: Store) -> str:
    """The way of this campaign, which is noted where it was not or is chosen now."""
    noted, here = _read_note(store), COMPILED if wanted() else PLAIN
    if noted is None and store.round_directory(1).exists():
        noted = PLAIN  # of an ase_bayesel that had no other way
    if noted is not None and (os.environ.get(SWITCH) is None or noted == here):
        return noted
    write_atomically(_note_of(store), f"{here}\n".encode())
    return here


def _note_of(store: Store) -> Path:
    return store.directory / "ace_passes"
