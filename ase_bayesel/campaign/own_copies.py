"""The config of a campaign that has begun, with its own copies in place of the files it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from .beginning import input_files
from .build.engines import build_reference
from .changes import settings_as_before
from .config import AnyPotential, ImportedPotentialConfig, MACEPotentialConfig
from .config.campaign import CampaignConfig
from .config.models import given_model
from .passes import check_passes
from .round_properties import CRYSTAL
from .small_files import check_kept
from .store import Store


def of_own_copies(config: CampaignConfig, store: Store) -> CampaignConfig:
    """The config as `Campaign.run` goes on with it, whatever has become of the files since.

    Parameters
    ----------
    config
        Of the campaign, as `accepted_changes` takes it.
    store
        The campaign. What it has no copy of stays as it is named.

    Raises
    ------
    StoreError
        If a copy is gone or damaged.
    """
    copies = {name: store.input_path(name) for name in input_files(config)}
    if config.data.prior_is_surrogate:
        copies["prior"] = store.prior_path
    for path in copies.values():
        check_kept(path)
    there = {name: path for name, path in copies.items() if path.exists()}
    fields = ("train", "test", "prior", "targets")
    data: dict[str, object] = {name: there[name] for name in fields if name in there}
    changes: dict[str, object] = {"data": config.data.model_copy(update=data)}
    if "starts" in there:
        changes["explore"] = config.explore.model_copy(update={"starts": there["starts"]})
    if config.properties is not None and CRYSTAL in there:
        crystal = config.properties.crystal.model_copy(update={"file": there[CRYSTAL]})
        changes["properties"] = config.properties.model_copy(update={"crystal": crystal})
    kept = store.potential_path(0)
    if config.potential is not None and kept is not None:
        changes["potential"] = _of_copy(config.potential, kept)
    return config.model_copy(update=changes)


def check_as_before(config: CampaignConfig, store: Store, starts: Sequence[Atoms]) -> None:
    """Refuse what `Campaign.run` refuses before it goes on; nothing is written.

    Parameters
    ----------
    config, store
        The campaign.
    starts
        Where its walkers begin.

    Raises
    ------
    ConfigError
        If files of the engine have changed since the first run (`settings_as_before`), or compiled
        passes of linear ACE are not here any more (`check_passes`).
    """
    settings_as_before(build_reference(config, store), starts, store)
    check_passes(config, store)


def _of_copy(potential: AnyPotential, kept: Path) -> AnyPotential:
    """The potential with the campaign's copy of its model: a file, a folder, or files in one."""
    if isinstance(potential, MACEPotentialConfig):
        return replace(potential, model=str(kept))
    given = given_model(potential)
    if isinstance(potential, ImportedPotentialConfig) and isinstance(given, tuple):
        return replace(potential, model=tuple(kept / path.name for path in given))
    return replace(potential, model=kept)
