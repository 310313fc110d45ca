"""Headers of extended XYZ files, looked over before ASE takes them at their word."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from pathlib import Path

from ..errors import StructureError

SUFFIXES = (".xyz", ".extxyz")
COLUMNS = re.compile(r":\s*[RISL]\s*:\s*([\d_]+)")


def check_headers(path: Path) -> None:
    """Refuse an extended XYZ file whose frames claim what it cannot hold.

    ASE would read as many lines, and make as many columns, as a frame claims. Other faults
    are left to its reader, and files of other formats are not looked at.

    Raises
    ------
    StructureError
        Naming file and frame.
    """
    if path.suffix not in SUFFIXES:
        return
    size, frame = path.stat().st_size, 0
    with open(path, encoding="utf-8", errors="replace") as lines:
        while (line := lines.readline()).strip():
            if line.lstrip().startswith("VEC"):
                continue
            try:
                n_atoms = int(line)
                columns = sum(map(int, COLUMNS.findall(lines.readline())))
            except ValueError:
                return
            if max(n_atoms, columns) > size:
                raise StructureError(
                    f"{path}, frame {frame}: claims {n_atoms} atoms and {columns} columns, "
                    "more than the file can hold"
                )
            deque(islice(lines, max(n_atoms, 0)), maxlen=0)
            frame += 1
