"""What of a config may change while a campaign goes on, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from ..errors import BayeselError, ConfigError
from ..io.hashing import content_hash
from ..io.importing import module_file
from ..io.model_files import ModelFiles, files_hash
from ..labelling.reference import Reference
from ..structures.frames import extxyz_bytes, read_frames
from .beginning import input_files
from .config.campaign import CampaignConfig
from .config.loading import changed_fields, flat_fields
from .config.models import given_model
from .own_modules import edited_modules, same_module
from .store import Store

ALWAYS = (
    "stop.",
    "properties.",
    "threads",
    "workers.",
    "labels.start",
    "labels.keep_output",
    "labels.scratch",
    "labelling.command",
    "labelling.environment",
    "labelling.time_limit_h",
    "labelling.fallbacks",
    "labelling.canary",
    "refit.time_limit_h",
    "potential.device",
    "potential.trust",
    "labelling.trust",
    "descriptor.trust",
)
"""How something is done, but not what comes out of it."""
INPUTS = {
    "data.train": "train",
    "data.test": "test",
    "data.prior": "prior",
    "data.targets": "targets",
    "explore.starts": "starts",
    "properties.crystal.file": "crystal",
}
"""Files that were copied at the start: they may move, but hold the same."""
RECORDED = ("explore.log", "explore.trajectory_interval")
"""What is written of an exploration, but not what it does."""
BETWEEN = {
    "explore.": "the round is being explored with the old ones",
    "refit.": "the round is being refitted with the old ones",
    "labels.max_force": "the round is being refitted with the old one",
    "labels.set_aside_force": "the round is being refitted with the old one",
}
"""What may change from one round to the next."""
TRIGGER = "explore.trigger"
REASONS = {
    "seed": "the picks so far are those of the old seed",
    "descriptor": "the models so far are built on the old one",
    "data": "the training data were taken up at the start",
    "weights": "the models so far were fitted with the old ones",
    "labelling": "labels of two references would be mixed",
    "labels": "the labels so far lie in the old place",
    "potential": "the rounds so far began from the old one",
}


@dataclass(frozen=True)
class Change:
    """One field of the config, before and after."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.before} -> {self.after}"


def accepted_changes(config: CampaignConfig, store: Store) -> list[Change]:
    """How a config differs from that of a campaign on disk.

    Raises
    ------
    ConfigError
        If something differs that may not, naming every such field and the reason.
    """
    changes = [Change(name, *pair) for name, pair in _differing(config, store).items()]
    refused = {c.field: reason for c in changes if (reason := _reason(c, store))}
    if refused:
        lines = [f"  {name}: {reason}" for name, reason in sorted(refused.items())]
        raise ConfigError(
            f"{store.directory}: holds a campaign with another config. These may not change now; "
            "undo that, or use a new directory:\n" + "\n".join(lines)
        )
    return changes


def _differing(config: CampaignConfig, store: Store) -> dict[str, tuple[object, object]]:
    """`changed_fields` since the start.

    A field that the release of the start did not know is none of them where it has its default.
    """
    stored = store.read_config()
    known = flat_fields(stored)
    chosen = flat_fields(config.model_dump(mode="json", exclude_defaults=True))

    def counts(name: str) -> bool:
        parts = name.split(".")
        places = (".".join(parts[:k]) for k in range(1, len(parts) + 1))
        return name in chosen or any(place in known for place in places)

    found = changed_fields(stored, config.model_dump(mode="json"))
    return {name: pair for name, pair in found.items() if counts(name)}


def edited_files(config: CampaignConfig, store: Store) -> list[str]:
    """What is told of files that hold something else than at the start, under their names of then.

    The campaign goes on with its own copies. One that is gone is no matter.
    """
    changed = _differing(config, store)
    told, files = [], input_files(config)
    for field, name in INPUTS.items():
        path = files.get(name)
        if field in changed or path is None or not path.is_file():
            continue
        surrogate = name == "prior" and config.data.prior_is_surrogate
        copy = store.prior_path if surrogate else store.input_path(name)
        reason = _unless_same(Change(field, str(path), str(path)), store)
        told += [f"{field}: {reason}; the campaign goes on with {copy}"] if reason else []
    model, kept = given_model(config.potential), store.potential_path(0)
    parts = model if isinstance(model, tuple) else (model,)
    there = all(isinstance(path, Path) and path.exists() for path in parts)
    if kept is not None and there and "potential.model" not in changed:
        given = [str(path) for path in model] if isinstance(model, tuple) else str(model)
        reason = _unless_same_model(Change("potential.model", given, given), store)
        told += [f"potential.model: {reason}; the campaign goes on with {kept}"] if reason else []
    return [*told, *edited_modules(config, store)]


def reopened_round(changes: Sequence[Change], store: Store) -> int | None:
    """The round that is to be explored again under accepted changes, if any.

    It is the last one, if nothing triggered in it and what has changed is how walkers explore. It
    holds nothing that was paid for.
    """
    explores = any(
        change.field.startswith("explore.")
        and change.field not in INPUTS
        and change.field not in RECORDED
        for change in changes
    )
    return _empty_round(store) if explores else None


def recalibrates(changes: Sequence[Change]) -> bool:
    """Whether accepted changes make calibrated thresholds void."""
    return any(change.field.startswith(TRIGGER) for change in changes)


def settings_as_before(
    reference: Reference | None, starts: Sequence[Atoms], store: Store
) -> str | None:
    """Name of the settings of the engine's first attempt, in which contents of files count.

    Parameters
    ----------
    reference
        The engine; None for labels by hand, of which there are no settings.
    starts
        Where walkers begin.
    store
        The campaign. What its first run has noted (`Store.save_settings`) may not change.

    Raises
    ------
    ConfigError
        If they are others than those of the first run.
    """
    if reference is None:
        return None
    settings = reference.settings({symbol for atoms in starts for symbol in atoms.symbols})[0]
    first = store.read_settings()
    if first not in (None, settings):
        raise ConfigError(
            f"{store.directory}: its labels are of the settings {first}, and these are {settings}: "
            "files of the engine (pseudopotentials, a model, ...) or its defaults have changed. "
            "Labels of two references would be mixed; restore them, or use a new directory"
        )
    return settings


def _reason(change: Change, store: Store) -> str | None:
    """Why a change is refused; None where it is not."""
    if change.field in INPUTS:
        return _unless_same(change, store)
    if change.field.startswith(ALWAYS):
        return None
    calibrated = change.field.startswith(TRIGGER) and store.read_thresholds() is not None
    if calibrated and _empty_round(store) is None:
        return "its thresholds were calibrated for the old one"
    if change.field == "potential.model":
        return _unless_same_model(change, store)
    section, _, key = change.field.partition(".")
    if key == "factory" and _same_module(change, store):
        return None
    for section, reason in BETWEEN.items():
        if change.field.startswith(section):
            return reason if _under_way(store, section) else None
    return REASONS.get(change.field.split(".")[0], "it belongs to the campaign's start")


def _empty_round(store: Store) -> int | None:
    """The last round, if nothing triggered in it; the campaign has ended there."""
    number = store.completed_rounds() - 1
    return number if number > 0 and store.read_report(number).picks == 0 else None


def _unless_same(change: Change, store: Store) -> str | None:
    kept = store.read_input(INPUTS[change.field])
    if change.after is None or change.before is None:
        return "it was read at the start"
    if change.field == "data.prior" and store.prior_path.exists():
        same = Path(change.after).is_file() and content_hash(Path(change.after)) == content_hash(
            store.prior_path
        )
        return None if same else f"{change.after} is not the surrogate of the start"
    try:
        given = read_frames(change.after)
    except BayeselError:
        return f"{change.after} cannot be read"
    content = extxyz_bytes(given)
    path = store.input_path(INPUTS[change.field])
    if content == extxyz_bytes(kept) or content == path.read_bytes():
        return None
    return f"{change.after} holds other structures than those of the start"


def _unless_same_model(change: Change, store: Store) -> str | None:
    kept, after = store.potential_path(0), change.after
    several = isinstance(after, list)
    given: ModelFiles = tuple(map(Path, after)) if several else Path(after or "")
    there = all(path.exists() for path in (given if isinstance(given, tuple) else [given]))
    if not after or kept is None or not there or files_hash(given) != files_hash(kept):
        told = ", ".join(after) if several else after
        return f"{told} is not the model of the start"
    return None


def _same_module(change: Change, store: Store) -> bool:
    """Whether a factory's file has only moved."""
    before, after = module_file(change.before or ""), module_file(change.after or "")
    names = {str(text).rpartition(":")[2] for text in (change.before, change.after)}
    if before is None or after is None or len(names) > 1:
        return False
    return same_module(after, store, change.field.partition(".")[0])


def _under_way(store: Store, section: str) -> bool:
    """Whether the round that is not complete has results of a section."""
    number = store.completed_rounds()
    if section == "explore.":
        exploration = store.exploration(number)
        return exploration.path.exists() and not exploration.has_failed()
    return store.refit_directory(number).exists()
