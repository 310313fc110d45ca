"""Reading and writing files of structures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixConstraint, dict2constraint
from ase.io import iread, write
from ase.io.jsonio import decode, encode

from ..errors import StructureError
from .checks import check_beside, check_structure
from .extxyz import SUFFIXES, atoms_from, blocks, is_xyz, open_text
from .packing import check_writable, packed, unpack
from .quick_checks import surely_sound

CONSTRAINTS_KEY = "bayesel_constraints"
"""Where ``atoms.info`` holds in a file what extended XYZ does not: all constraints but FixAtoms
and FixCartesian, as ASE's dictionaries."""

CHUNK_FRAMES = 64
"""Read ahead, and checked at a time."""


def extxyz_bytes(frames: Sequence[Atoms], where: str = "") -> bytes:
    """Structures as extended XYZ, whole (see `packing`); nothing for none.

    Raises
    ------
    StructureError
        For a structure that a file cannot hold, naming its frame, after ``where`` if that is given.
    """
    text = io.StringIO()
    place = f"{where}, frame" if where else "frame"
    for number, atoms in enumerate(frames):
        here = f"{place} {number}"
        write(text, packed(_with_constraints(atoms, here), here), format="extxyz")
    return text.getvalue().encode()


def frames_from(content: bytes, where: str) -> list[Atoms]:
    """The structures of `extxyz_bytes`; an error begins with ``where``.

    Raises
    ------
    StructureError
        If they cannot be read.
    """
    return list(_from_xyz(io.StringIO(content.decode(errors="replace")), where, apart=False))


def read_frames(path: str | PathLike, apart: bool = True) -> list[Atoms]:
    """All structures of a file that ASE reads, each checked by `check_structure`.

    ``apart`` is that of `check_structure`: picks and their labels are read without.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    return list(iterate_frames(path, apart))


def iterate_frames(path: str | PathLike, apart: bool = True) -> Iterator[Atoms]:
    """The structures of a file one by one, each checked; the file is never held as a whole.

    Of extended XYZ every frame is read, or the line is named at which that is not possible.

    Raises
    ------
    StructureError
        Naming the file, and the frame where one is at fault.
    """
    path, empty = _existing(path), True
    for atoms in _stream(path, apart):
        yield atoms
        empty = False
    if empty:
        raise StructureError(f"{path}: holds no structure")


def _existing(path: str | PathLike) -> Path:
    path = Path(path)
    if not path.exists():
        raise StructureError(f"{path}: no such file")
    if not path.is_file():
        raise StructureError(f"{path}: is a folder or a device; name a file of structures")
    if path.stat().st_size == 0:
        raise StructureError(f"{path}: the file is empty")
    return path


def _stream(path: Path, apart: bool) -> Iterator[Atoms]:
    try:
        if is_xyz(path):
            with open_text(path) as lines:
                yield from _from_xyz(lines, str(path), apart)
            return
    except (OSError, EOFError) as error:  # of a compressed file
        raise StructureError(f"{path}: cannot be read ({error})") from error
    number = 0
    stream = iread(str(path), index=":", do_not_split_by_at_sign=True)
    while True:
        where = f"{path}, frame {number}"
        try:
            atoms = next(stream)
        except StopIteration:
            return
        except Exception as error:  # ASE's readers raise anything from KeyError to their own
            raise StructureError(f"{where}: cannot be read ({error!r})") from error
        check_writable(atoms, where)
        check_structure(_with_all(atoms, where), where, apart)
        yield atoms
        number += 1


def _from_xyz(lines: TextIO, where: str, apart: bool) -> Iterator[Atoms]:
    """Checked some frames at a time; what is wrong behind them is told after them."""
    stream = _unpacked(lines, where)
    fault: Exception | None = None
    while fault is None:
        frames: list[Atoms] = []
        places: list[str] = []
        try:
            for atoms, place in islice(stream, CHUNK_FRAMES):
                frames.append(atoms)
                places.append(place)
        except (StructureError, OSError, EOFError) as error:
            fault = error
        for atoms, place, sound in zip(frames, places, surely_sound(frames), strict=True):
            if sound:
                check_beside(atoms, place)
            else:
                check_structure(atoms, place, apart)
            yield atoms
        if not frames:
            break
    if fault is not None:
        raise fault


def _unpacked(lines: TextIO, where: str) -> Iterator[tuple[Atoms, str]]:
    for number, block in enumerate(blocks(lines, where)):
        place = f"{where}, frame {number}"
        yield _with_all(atoms_from(block, place), place), place


def _with_all(atoms: Atoms, where: str) -> Atoms:
    """The structure with what the comment line of `write_frames` holds."""
    unpack(atoms, where)
    described = atoms.info.pop(CONSTRAINTS_KEY, None)
    if described is not None:
        try:
            atoms.set_constraint(_constraints(described))
        except UNREADABLE as error:
            raise StructureError(f"{where}: {CONSTRAINTS_KEY} cannot be read ({error})") from error
    return atoms


def write_frames(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write extended XYZ that `read_frames` gives back, with all constraints (`CONSTRAINTS_KEY`).

    Raises
    ------
    StructureError
        Naming the file, and the frame and key of what it cannot hold.
    """
    Path(path).write_bytes(extxyz_bytes(frames, str(path)))


def check_output(path: Path) -> None:
    """Refuse a file for structures whose ending says that it is something else.

    Raises
    ------
    StructureError
        Naming the file and the endings that are written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise StructureError(
            f"{path}: structures are written as extended XYZ; end the name in "
            f"{' or '.join(reversed(SUFFIXES))}"
        )


def _with_constraints(atoms: Atoms, where: str) -> Atoms:
    """The structure, with constraints that extended XYZ would lose in its comment line."""
    if all(isinstance(c, FixAtoms | FixCartesian) for c in atoms.constraints):
        return atoms
    try:
        described = json.loads(encode([c.todict() for c in atoms.constraints]))
        _constraints(described)
    except (*UNREADABLE, NotImplementedError) as error:
        names = ", ".join(type(c).__name__ for c in atoms.constraints)
        raise StructureError(
            f"{where}: a constraint cannot be written to a file ({names})"
        ) from error
    out = atoms.copy()
    out.calc = atoms.calc
    out.set_constraint()
    out.info[CONSTRAINTS_KEY] = described
    return out


def _constraints(described: list[Any]) -> list[FixConstraint]:
    return [dict2constraint(entry) for entry in decode(json.dumps(described))]


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError)
"""What ASE raises on descriptions of constraints that it does not know."""
