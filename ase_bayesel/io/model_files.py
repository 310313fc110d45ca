"""Models on disk: a file, several files, or a folder; told apart by content, copied whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from .atomic import sync, write_atomically
from .hashing import bytes_hash, content_hash

ModelFiles = Path | tuple[Path, ...]
"""A file or a folder; or several files, which a copy holds in one folder under their names."""


def check_files(model: ModelFiles, field: str) -> None:
    """Refuse a model that is not there, or that cannot be copied whole.

    A folder must hold files and folders only: a symbolic link in it may lead anywhere, and a copy
    that follows it may hold what nobody meant to copy. A model that is a link itself is no matter.

    Parameters
    ----------
    model
        What the config names.
    field
        What the config calls it, for the error.

    Raises
    ------
    ConfigError
        Naming the file.
    """
    for path in model if isinstance(model, tuple) else [model]:
        if isinstance(model, tuple) and path.is_dir():
            raise ConfigError(f"{path}: is a folder; a list names files ({field})")
        if not path.exists():
            raise ConfigError(f"{path}: no such file ({field})")
    parts = parts_of(model)
    if not parts:
        raise ConfigError(f"{model}: is an empty folder ({field})")
    for path in parts.values():
        if path.is_symlink() and isinstance(model, Path) and path != model:
            raise ConfigError(
                f"{path}: is a symbolic link, which is not copied with its folder; put what it "
                f"points to in its place, cp -rL does ({field})"
            )
        if not path.is_file():
            raise ConfigError(f"{path}: is no ordinary file ({field})")


def parts_of(model: ModelFiles) -> Mapping[str, Path]:
    """The files of a model by their names in a copy, in a fixed order.

    A symbolic link in a folder is one of them, whatever it leads to.
    """
    if isinstance(model, tuple):
        return {path.name: path for path in model}
    if not model.is_dir():
        return {model.name: model}
    found = []
    for folder, folders, files in os.walk(model):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [Path(folder) / name for name in (*files, *links)]
    return {path.relative_to(model).as_posix(): path for path in sorted(found)}


def files_hash(model: ModelFiles) -> str:
    """SHA-256 of what a model holds, wherever it lies: of a folder, names and contents of files.

    Several files have that of a folder with them.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    if isinstance(model, Path) and not model.is_dir():
        return content_hash(model)
    parts = sorted(parts_of(model).items())
    return bytes_hash(b"".join(f"{name}\0{content_hash(path)}\n".encode() for name, path in parts))


def copy_files(model: ModelFiles, folder: Path, stem: str) -> Path:
    """Copy a model in one step, durable once it returns; returns where it lies.

    Parameters
    ----------
    model
        A copy of a folder has no empty folders.
    folder, stem
        Where the copy lies, and its name, to which all suffixes of the model's name are added,
        since programs go by them: ``.json.gz``, ``.model.cpu``.
    """
    if isinstance(model, Path) and not model.is_dir():
        target = folder / f"{stem}{suffixes_of(model)}"
        write_atomically(target, model.read_bytes())
        return target
    target = folder / (f"{stem}{suffixes_of(model)}" if isinstance(model, Path) else stem)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        for name, path in parts_of(model).items():
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place, follow_symlinks=True)
            sync(place)
            sync(place.parent)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(folder)
    return target


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def suffixes_of(path: Path) -> str:
    """All suffixes of a name, as ``.json.gz``."""
    return "".join(path.suffixes)
