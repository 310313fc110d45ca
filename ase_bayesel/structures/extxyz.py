"""Extended XYZ, frame by frame: what a file holds is read, or refused with its frame and line."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple, TextIO

from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read
from ase.io.formats import filetype, get_compression, ioformats, open_with_compression

from ..errors import StructureError
from .comment_lines import fault_of_comment, fault_of_names
from .plain_extxyz import plain_atoms

SUFFIXES = (".xyz", ".extxyz")
VAGUE_SUFFIXES = ("", ".txt", ".dat")
"""Endings that tell nothing: such a file is taken for extended XYZ if it looks like one."""
PROPERTIES = re.compile(r"""Properties\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")
FORTRAN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[dD][+-]?\d+")


class Block(NamedTuple):
    """The lines of one frame, and the number of the first in its file, from 1."""

    first_line: int
    comment: str
    rows: list[str]
    vectors: list[str]

    @property
    def text(self) -> str:
        """All of it."""
        return f"{len(self.rows)}\n{self.comment}{''.join(self.rows + self.vectors)}"


def is_xyz(path: Path) -> bool:
    """Whether a file is to be read as (extended) XYZ: by its ending, or by what it begins with.

    Raises
    ------
    StructureError
        If neither tells what the file is.
    """
    name = Path(get_compression(str(path))[0])
    if name.suffix.lower() in SUFFIXES:
        return True
    if _looks_like_xyz(path):
        try:
            known = filetype(str(path), read=False)
        except Exception:  # ASE raises its own kinds where a name tells nothing
            known = ""
        vague = name.suffix.lower() in VAGUE_SUFFIXES or known not in ioformats
        return vague or known in ("xyz", "extxyz")
    try:
        known = filetype(str(path))
    except Exception as error:  # as above
        raise StructureError(f"{path}: cannot be read as structures ({error})") from error
    if known not in ioformats:
        raise StructureError(
            f"{path}: cannot be read as structures: ASE knows no format of the ending {known!r}; "
            "extended XYZ ends in .extxyz or .xyz"
        )
    return False


def _looks_like_xyz(path: Path) -> bool:
    with open_text(path) as lines:
        head = list(islice((line for line in lines if line.strip()), 3))
    if not head or not head[0].strip().isdigit():
        return False
    return len(head) == 3 and (PROPERTIES.search(head[1]) is not None or len(head[2].split()) >= 4)


def open_text(path: Path) -> TextIO:
    """A file as text, also a compressed one; bytes that are none become U+FFFD."""
    binary = open_with_compression(str(path), "rb")
    return io.TextIOWrapper(binary, encoding="utf-8", errors="replace")


def blocks(lines: TextIO, where: str) -> Iterator[Block]:
    """The frames of a text; empty lines between them are passed over.

    Raises
    ------
    StructureError
        Naming frame and line, where the text is none, or ends within a frame.
    """
    number, frame = 0, 0
    line = lines.readline()
    while line:
        number += 1
        if not line.strip():
            line = lines.readline()
            continue
        place = f"{where}, frame {frame} (line {number})"
        try:
            n_atoms = int(line)
        except ValueError:
            raise StructureError(
                f"{place}: cannot be read: a frame begins with its number of atoms, "
                f"here is {_short(line)}"
            ) from None
        if n_atoms < 1:
            raise StructureError(f"{place}: has no atoms")
        comment = lines.readline()
        rows = list(islice(lines, n_atoms))
        if len(rows) < n_atoms:
            raise StructureError(
                f"{place}: claims {n_atoms} atoms, more than the file can hold: "
                f"it ends after {len(rows)}"
            )
        first, number = number, number + 1 + n_atoms
        line, vectors = lines.readline(), []
        while line.lstrip().startswith("VEC"):
            vectors.append(line)
            number += 1
            line = lines.readline()
        yield Block(first, comment, rows, vectors)
        frame += 1


def _columns(comment: str) -> list[tuple[str, str, int]] | None:
    """Name, type and width of the columns that a comment line declares; None where it is silent."""
    found = PROPERTIES.search(comment)
    if found is None:
        return None
    fields = next(text for text in found.groups() if text is not None).split(":")
    names, kinds, widths = fields[::3], fields[1::3], fields[2::3]
    return [(n, k, int(w)) for n, k, w in zip(names, kinds, widths, strict=True)]


def _check_rows(block: Block, place: str) -> None:
    """Whether each row has as many values as the comment line says."""
    try:
        columns = _columns(block.comment)
    except ValueError:
        raise StructureError(f"{place}: its Properties cannot be read") from None
    if columns is None:
        return
    expected = sum(width for _, _, width in columns)
    for atom, row in enumerate(block.rows):
        if (count := len(row.split())) != expected:
            raise StructureError(
                f"{place}: atom {atom} has {count} values, and Properties names {expected} columns"
            )
    names, widths = [name for name, _, _ in columns], (width for *_, width in columns)
    starts = dict(zip(names, accumulate(widths, initial=0), strict=False))
    for name in {"Z", "numbers"} & starts.keys() if "species" in starts else ():
        for atom, row in enumerate(block.rows):
            values = row.split()
            symbol, number = values[starts["species"]], values[starts[name]]
            if str(atomic_numbers.get(symbol.capitalize())) != number:
                raise StructureError(
                    f"{place}: atom {atom} is {symbol} by its species and {number} by {name}; "
                    "remove the column that is wrong"
                )


def atoms_from(block: Block, where: str) -> Atoms:
    """The structure of a block, as ASE's reader takes it, which reads what is not plain.

    Raises
    ------
    StructureError
        Which begins with ``where``, and says what in the frame is wrong.
    """
    plain = None if block.vectors else plain_atoms(block.comment, block.rows)
    fault = plain is None and fault_of_comment(block.comment)
    atoms = _read(block, where) if plain is None and not fault else plain
    fault = fault or (atoms is not None and fault_of_names(block.comment, atoms.info))
    if fault:
        raise StructureError(f"{where} (line {block.first_line + 1}): {fault}")
    assert atoms is not None
    return atoms


def _read(block: Block, where: str) -> Atoms:
    """The structure of a block as ASE's reader takes it."""
    place = f"{where} (line {block.first_line})"
    _check_rows(block, place)
    try:
        atoms = read(io.StringIO(block.text), index=0, format="extxyz")
    except Exception as error:  # ASE's reader raises anything from KeyError to its own
        reason = _fault(block) or f"{type(error).__name__}: {error}"
        raise StructureError(f"{place}: cannot be read: {reason}") from error
    assert isinstance(atoms, Atoms)
    return atoms


def _fault(block: Block) -> str | None:
    """What in the rows of a frame ASE's reader stumbles over, if that can be told."""
    columns = _columns(block.comment) or [("species", "S", 1), ("pos", "R", 3)]
    for atom, row in enumerate(block.rows):
        values = iter(row.split())
        for name, kind, width in columns:
            for value in islice(values, width):
                if fault := _fault_of(name, kind, value):
                    return f"atom {atom}: {fault}"
    return None


def _fault_of(name: str, kind: str, value: str) -> str | None:
    if name == "species" and value.capitalize() not in atomic_numbers:
        return f"species {value!r} is no element{_hint(value)}"
    if kind in "RI":
        try:
            (float if kind == "R" else int)(value)
        except ValueError:
            hint = "; write 1.0e0 for Fortran's 1.0D0" if FORTRAN.fullmatch(value) else ""
            return f"{value!r} in column {name!r} is no number{hint}"
    return None


def _hint(label: str) -> str:
    """What may be meant by a label that is no element."""
    bare = re.sub(r"[\d_+*-].*$", "", label)
    if label.upper() in ("D", "T"):
        return ": write H, and the mass in a column masses:R:1"
    if label.isdigit():
        return ": give atomic numbers in a column Z:I:1, or write symbols"
    if label.lower().startswith(("bq", "gh")):
        return ": ghost atoms cannot be used; remove them"
    if bare.capitalize() in atomic_numbers:
        return f": write {bare.capitalize()}, and labels of sites in a column of their own"
    return ""


def _short(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= 40 else text[:40] + "...")
