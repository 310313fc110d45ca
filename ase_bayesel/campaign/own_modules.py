"""Files of Python that a config names as factories: kept beside a campaign's inputs, and compared.

The campaign runs them from where they lie. The copy says what they were at the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..io.atomic import write_atomically
from ..io.hashing import content_hash
from ..io.importing import module_file
from .config.campaign import CampaignConfig
from .store import Store


def own_modules(config: CampaignConfig) -> Mapping[str, Path]:
    """The files by the section that names them."""
    sections = {
        "potential": config.potential,
        "labelling": config.labelling,
        "descriptor": config.descriptor,
    }
    files = {name: module_file(getattr(part, "factory", "")) for name, part in sections.items()}
    return {name: file for name, file in files.items() if file is not None}


def keep_modules(config: CampaignConfig, store: Store) -> None:
    """Copy the files, as they are when the campaign begins."""
    for section, file in own_modules(config).items():
        write_atomically(_kept(store, section), file.read_bytes())


def edited_modules(config: CampaignConfig, store: Store) -> list[str]:
    """What is told of files that have changed since the start.

    Where labels come from one, the settings of labels change with it, and it is refused there.
    """
    return [
        f"{section}.factory: {file} is not what it was at the start, which is kept as "
        f"{_kept(store, section)}; the campaign goes on with the one that is there now"
        for section, file in own_modules(config).items()
        if file.is_file()
        and _kept(store, section).is_file()
        and not same_module(file, store, section)
    ]


def same_module(file: Path, store: Store, section: str) -> bool:
    """Whether a file holds what a section's module held at the start."""
    kept = _kept(store, section)
    return file.is_file() and kept.is_file() and content_hash(file) == content_hash(kept)


def _kept(store: Store, section: str) -> Path:
    return store.directory / "inputs" / f"{section}_module.py"
