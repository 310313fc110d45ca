"""Comment lines of extended XYZ: what ASE's reader would silently take for something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

KEY = re.compile(r"([^\s=]+)\s*=")
CLOSING = {"'": "'", '"': '"', "{": "}", "[": "]"}
RESERVED = {name.lower(): name for name in ("Lattice", "Properties", "pbc")}
"""Names that the format gives a meaning, which are written like that."""
OF_CELLS = ("latt", "latice", "cell", "box")
"""Parts of names under which other programs write a cell."""
DIRECTIONS = frozenset(("T", "F", "True", "False", "TRUE", "FALSE", "true", "false", "1", "0"))


def fault_of_comment(comment: str) -> str | None:
    """What in a comment line has no meaning, or two; None for nothing."""
    pairs, swallowed = _pairs(comment)
    if "=" in swallowed:
        return f"a quote or bracket is not closed, and takes in {_short(swallowed)}; close it"
    key_twice = _key_twice(comment, pairs)
    if key_twice is not None:
        return f"{key_twice!r} is there twice, with different values; keep one of them"
    for key, *values in pairs:
        if key == "pbc" and values:
            words = re.split(r"[\s,]+", values[0].strip())
            if len(words) not in (1, 3) or not set(words) <= DIRECTIONS:
                return f'pbc={_short(values[0])} must be three of T and F, as pbc="T T F"'
    return None


def fault_of_names(comment: str, info: Mapping[Any, Any]) -> str | None:
    """What of ``info`` seems to be a cell, periodic directions or columns by another name.

    Only where the comment line does not give them by their own.
    """
    for key, value in info.items():
        low = str(key).lower()
        name = RESERVED.get(low)
        if name not in (None, key) and not _gives(comment, str(name)):
            return f"{key!r} means nothing; write {name}"
        is_cell = any(part in low for part in OF_CELLS) and _is_cell(value)
        if is_cell and not (_gives(comment, "Lattice") or _gives(comment, "pbc")):
            return f'{key!r} is no cell; write the nine numbers as Lattice, or pbc="F F F"'
    return None


def _gives(comment: str, name: str) -> bool:
    return re.search(rf"(?:^|\s){name}\s*=", comment) is not None


def _is_cell(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "if" and value.size in (3, 6, 9)


def _key_twice(comment: str, pairs: list[list[str]]) -> str | None:
    """The first key of a comment line with two values, of which ASE's reader takes the last."""
    names = KEY.findall(comment)
    if len(names) == len(set(names)):
        return None
    known: dict[str, str] = {}
    for key, *values in pairs:
        value = "=".join(values)
        if values and known.setdefault(key, value) != value:
            return key
    return None


def _pairs(comment: str) -> tuple[list[list[str]], str]:
    """Keys and values, split at ``=``, of a comment line as ASE's reader takes it apart.

    And what follows a quote or bracket that is not closed.
    """
    pairs, closing, escaped, opened = [[""]], "", False, 0
    text = comment.strip()
    for place, char in enumerate(text):
        if escaped or (closing and char not in (closing, "\\")):
            pairs[-1][-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif closing:
            closing = ""
        elif char in CLOSING:
            closing, opened = CLOSING[char], place
        elif char.isspace():
            if pairs[-1][-1]:
                pairs.append([""])
        elif char == "=":
            if pairs[-1] == [""] and len(pairs) > 1:
                pairs.pop()
            pairs[-1].append("")
        else:
            pairs[-1][-1] += char
    return pairs, text[opened:] if closing else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
