"""Reading and writing files of structures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixConstraint, dict2constraint
from ase.io import iread, read, write
from ase.io.jsonio import decode, encode

from ..errors import StructureError
from .checks import check_structure
from .headers import check_headers


def extxyz_bytes(frames: Sequence[Atoms]) -> bytes:
    """Structures as extended XYZ; nothing for none."""
    if not frames:
        return b""
    text = io.StringIO()
    write_frames(text, frames)
    return text.getvalue().encode()


def frames_from(content: bytes, where: str) -> list[Atoms]:
    """The structures of `extxyz_bytes`; an error begins with ``where``.

    Raises
    ------
    StructureError
        If they cannot be read.
    """
    if not content:
        return []
    return _read(io.StringIO(content.decode(errors="replace")), where, format="extxyz")


CONSTRAINTS_KEY = "bayesel_constraints"
"""Where ``atoms.info`` holds in a file what extended XYZ does not: all constraints but FixAtoms
and FixCartesian, as ASE's dictionaries."""


def read_frames(path: str | PathLike) -> list[Atoms]:
    """All structures of a file that ASE reads, each checked by `check_structure`.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    return _read(path := _existing(path), str(path))


def _read(source: Path | TextIO, where: str, **options: Any) -> list[Atoms]:
    try:
        frames = read(source, index=":", **options)
    except Exception as error:  # ASE's readers raise anything from KeyError to their own
        raise StructureError(f"{where}: cannot be read as structures ({error})") from error
    if not frames:
        raise StructureError(f"{where}: holds no structure")
    for number, atoms in enumerate(frames):
        _check_read(atoms, f"{where}, frame {number}")
    return list(frames)


def iterate_frames(path: str | PathLike) -> Iterator[Atoms]:
    """The structures of a file one by one, each checked; the file is never held as a whole.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    path, number = _existing(path), 0
    stream = iread(path, index=":")
    while True:
        try:
            atoms = next(stream)
        except StopIteration:
            return
        except Exception as error:  # ASE's readers raise anything from KeyError to their own
            raise StructureError(f"{path}, frame {number}: cannot be read ({error})") from error
        _check_read(atoms, f"{path}, frame {number}")
        yield atoms
        number += 1


def _existing(path: str | PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise StructureError(f"{path}: the file is empty")
    check_headers(path)
    return path


def write_frames(path: str | Path | TextIO, frames: Sequence[Atoms]) -> None:
    """Write extended XYZ, with all constraints: see `CONSTRAINTS_KEY`."""
    write(path, [_with_constraints(atoms) for atoms in frames], format="extxyz")


def _with_constraints(atoms: Atoms) -> Atoms:
    """The structure, with constraints that extended XYZ would lose in its comment line."""
    if all(isinstance(c, FixAtoms | FixCartesian) for c in atoms.constraints):
        return atoms
    try:
        described = json.loads(encode([c.todict() for c in atoms.constraints]))
        _constraints(described)
    except (*UNREADABLE, NotImplementedError) as error:
        names = ", ".join(type(c).__name__ for c in atoms.constraints)
        raise StructureError(f"a constraint cannot be written to a file ({names})") from error
    out = atoms.copy()
    out.calc = atoms.calc
    out.set_constraint()
    out.info[CONSTRAINTS_KEY] = described
    return out


def _constraints(described: list[Any]) -> list[FixConstraint]:
    return [dict2constraint(entry) for entry in decode(json.dumps(described))]


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What ASE raises on descriptions of constraints that it does not know."""


def _check_read(atoms: Atoms, where: str) -> None:
    """`check_structure`, and the constraints that the comment line holds."""
    described = atoms.info.pop(CONSTRAINTS_KEY, None)
    if described is not None:
        try:
            atoms.set_constraint(_constraints(described))
        except UNREADABLE as error:
            raise StructureError(f"{where}: {CONSTRAINTS_KEY} cannot be read ({error})") from error
    check_structure(atoms, where)
