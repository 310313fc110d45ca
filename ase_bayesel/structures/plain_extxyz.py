"""Frames of extended XYZ as most files hold them, read in few steps.

What is not plain, right or wrong, is left to ASE's reader: `plain_atoms` is None there. What is
read is what that reader gives, to the last bit, type and memory layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.extxyz import (
    REV_PROPERTY_NAME_MAP,
    SPECIAL_3_3_KEYS,
    UNPROCESSED_KEYS,
    set_calc_and_arrays,
)

ENTRY = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_-]*)=(?:"([^"\\]+)"|([^\s"\'\\{}\[\]=]+))(?=\s|$)')
WORD = re.compile(r"[^\s,]+")
TRUTH = dict.fromkeys(("T", "true", "True", "TRUE"), True) | dict.fromkeys(
    ("F", "false", "False", "FALSE"), False
)
BY_READER = ("numbers", "initial_charges", "move_mask")
"""Columns of which ASE's reader makes more than an array of the same name."""


MARK = "|"
"""Between rows, while they are cut into values."""
READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "R": ("d", float),
    "I": ("i", int),
    "L": ("bool", {"T": True, "True": True}.get),
}
"""As those of ASE."""


class Column(NamedTuple):
    """A column of several values a row: its name, its type, and its values."""

    name: str
    kind: str
    values: slice


class Columns(NamedTuple):
    """What the Properties of a comment line say: values in a row, those of atoms, the others."""

    width: int
    species: int
    positions: slice
    others: tuple[Column, ...]


def plain_atoms(comment: str, rows: Sequence[str]) -> Atoms | None:
    """The structure of a frame; None where it is not plain.

    Parameters
    ----------
    comment, rows
        The second line of the frame, and those of its atoms.
    """
    info = plain_info(comment)
    if info is None or not isinstance(properties := info.pop("Properties", None), str):
        return None
    columns = _columns(properties)
    if columns is None:
        return None
    lattice = info.pop("Lattice", None)
    pbc = info.pop("pbc", lattice is not None)
    if not (isinstance(pbc, bool) or (isinstance(pbc, list) and len(pbc) == 3)):
        return None
    texts = _texts(rows, columns.width)
    if texts is None:
        return None
    try:
        species = texts[columns.species]
        known = {text: atomic_numbers[text.capitalize()] for text in set(species)}
        numbers = [*map(known.__getitem__, species)]
        positions = _array("R", texts[columns.positions])
        arrays = {c.name: _array(c.kind, texts[c.values]) for c in columns.others}
    except (KeyError, ValueError, OverflowError):
        return None
    cell = None if lattice is None else lattice.T
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc, info=info)
    set_calc_and_arrays(atoms, arrays)
    return atoms


def plain_info(comment: str) -> dict[str, Any] | None:
    """What a comment line says by key; None where it is not plain."""
    comment = comment.strip()
    if not comment.isascii():
        return None
    info: dict[str, Any] = {}
    place = 0
    while place < len(comment):
        entry = ENTRY.match(comment, place)
        if entry is None:
            return None
        place = entry.end()
        key, quoted, bare = entry.groups()
        if key in info:
            return None
        try:
            info[key] = _value(key, quoted or bare)
        except ValueError:
            return None
    return info


def _value(key: str, text: str) -> Any:
    """A value of the comment line; a `ValueError` where it is not plain."""
    words = WORD.findall(text)
    if not words or key.lower() in UNPROCESSED_KEYS or text.startswith("_JSON"):
        raise ValueError
    numbers = _numbers(words)
    if numbers is not None:
        if "_" in text:  # of Python's numbers, not of all others'
            raise ValueError
        if key in SPECIAL_3_3_KEYS:
            return numbers.reshape((3, 3), order="F")
        return numbers[0] if len(numbers) == 1 else numbers
    if key in SPECIAL_3_3_KEYS:
        raise ValueError
    if not all(word in TRUTH for word in words):
        return text
    return TRUTH[words[0]] if len(words) == 1 else [TRUTH[word] for word in words]


def _numbers(words: list[str]) -> np.ndarray | None:
    try:
        return np.array([int(word) for word in words], dtype=int)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _columns(properties: str) -> Columns | None:
    """None where Properties is wrong, or names a column that ASE's reader takes in its own way."""
    fields = properties.split(":")
    if len(fields) % 3:
        return None
    places: dict[str, Column] = {}
    names: list[str] = []
    width = 0
    for name, kind, number in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if not number.isdecimal() or (count := int(number)) < 1 or kind not in ("R", "I", "S", "L"):
            return None
        names += [name] if count == 1 else [f"{name}{k}" for k in range(count)]
        name = REV_PROPERTY_NAME_MAP.get(name, name)
        if name in places or name in BY_READER or (kind == "S" and count > 1):
            return None
        places[name] = Column(name, kind, slice(width, width + count))
        width += count
    species, positions = places.pop("symbols", None), places.pop("positions", None)
    if species is None or species.kind != "S" or positions is None or positions.kind != "R":
        return None
    three = positions.values.stop - positions.values.start == 3
    if not three or len(set(names)) != len(names) or "" in names:
        return None
    return Columns(width, species.values.start, positions.values, tuple(places.values()))


def _texts(rows: Sequence[str], width: int) -> list[list[str]] | None:
    """The values of each column; None where the rows have others than ``width`` values."""
    words = f" {MARK} ".join(rows).split()
    marks, step = len(rows) - 1, width + 1
    if len(words) != width * len(rows) + marks or words.count(MARK) != marks:
        return None
    if words[width::step].count(MARK) != marks:
        return None
    return [words[place::step] for place in range(width)]


def _array(kind: str, texts: list[list[str]]) -> np.ndarray:
    """The values of a column, ``(n,)`` or, one column of memory after the other, ``(n, k)``."""
    if kind == "S":
        return np.array(texts[0], object)
    dtype, read = READERS[kind]
    n_columns, n_rows = len(texts), len(texts[0])
    every = map(read, chain.from_iterable(texts))
    values = np.fromiter(every, dtype, n_columns * n_rows)
    return values if n_columns == 1 else values.reshape(n_columns, n_rows).T
