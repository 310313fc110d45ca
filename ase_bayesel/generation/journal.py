"""The file of a pool, and beside it the journal of what became of every candidate.

``pool.xyz`` holds the frames that were kept; ``pool.jsonl`` one line for each fact:

    {"format": ..., "request": {...}}           what decides which candidates are kept
    {"unit": [0, 2], "recipe": ..., "start": id}  a recipe begins on a start
    {"kept": id, "end": 18211}                  a frame, and the length of pool.xyz with it
    {"left_out": "near_copy"}                   a candidate that was rejected
    {"finished": [0, 2]}                        all candidates of the unit are settled

A frame is written first, by one write, and then its line. After a kill the journal's
last whole line tells where both files are cut.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ase import Atoms

from ..errors import GenerationError
from ..io.formats import KEY, POOL
from ..structures.frames import check_output, extxyz_bytes
from .recipe import PREFIX

Unit = tuple[int, int]
"""Number of the recipe and of the start."""


@dataclass
class UnitRecord:
    """What is known of a recipe on one start; ``kept`` and ``left_out`` count candidates."""

    recipe: str
    start: str | None
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    @property
    def settled(self) -> int:
        """How many candidates were judged."""
        return self.kept + self.left_out.total()


class PoolFile:
    """A pool that grows; use it as a context manager.

    Parameters
    ----------
    path
        Where the frames go; the journal lies beside it with the suffix ``.jsonl``.
    request
        JSON values that must be the same where a pool is taken up again.

    Raises
    ------
    GenerationError
        If the file is not one that this request has begun.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        self.path = path
        self.journal_path = path.with_suffix(".jsonl")
        if self.journal_path == path:
            raise GenerationError(f"{path}: a pool needs another ending, such as .xyz")
        check_output(path)
        self.units: dict[Unit, UnitRecord] = {}
        self._frames: BinaryIO
        self._journal: BinaryIO
        header = {KEY: str(POOL), "request": dict(request)}
        lines = self._take_up(header)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._frames = open(path, "ab", buffering=0)  # noqa: SIM115
        self._journal = open(self.journal_path, "ab", buffering=0)  # noqa: SIM115
        if not lines:
            self._note(header)

    def __enter__(self) -> PoolFile:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in (self._frames, self._journal):
            os.fsync(handle.fileno())
            handle.close()

    def begin(self, unit: Unit, recipe: str, start: str | None) -> UnitRecord:
        """The record of a unit, which is begun if it is not there.

        Raises
        ------
        GenerationError
            If it was begun with another recipe or start.
        """
        record = self.units.get(unit)
        if record is None:
            record = self.units[unit] = UnitRecord(recipe, start)
            self._note({"unit": unit, "recipe": recipe, "start": start})
        if record.recipe != recipe:
            raise GenerationError(
                f"{self.path}: was begun with another recipe {unit[0]}: {record.recipe}, now "
                f"{recipe}. New recipes go to the end of the list; or choose another output"
            )
        if record.start != start:
            raise GenerationError(
                f"{self.path}: was begun with another start {unit[1]}; choose another output"
            )
        return record

    def keep(self, record: UnitRecord, atoms: Atoms) -> None:
        """Append a frame."""
        self._frames.write(extxyz_bytes([atoms]))
        entry = {"kept": atoms.info[f"{PREFIX}id"], "end": self._frames.tell()}
        self._note(entry)
        record.kept += 1

    def leave_out(self, record: UnitRecord, reason: str) -> None:
        """Count a candidate that is not kept."""
        self._note({"left_out": reason})
        record.left_out[reason] += 1

    def finish(self, unit: Unit) -> None:
        """Note that a unit has no more candidates."""
        self._note({"finished": unit})
        self.units[unit].finished = True

    def _note(self, entry: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(entry).encode() + b"\n")

    # -- taking up again -----------------------------------------------------

    def _take_up(self, header: Mapping[str, Any]) -> int:
        """Read what is there and cut both files behind the last whole entry; its lines."""
        length = self.path.stat().st_size if self.path.exists() else 0
        if not self.journal_path.exists():
            if length:
                raise GenerationError(
                    f"{self.path}: exists, but not its journal {self.journal_path}; choose "
                    "another output"
                )
            return 0
        lines = self.journal_path.read_bytes().split(b"\n")[:-1]
        if length == 0:
            self._check_format(self._entry(lines[0], 0) if lines else header)
            os.truncate(self.journal_path, 0)
            return 0
        end = known = number = 0
        for number, line in enumerate(lines):
            entry = self._entry(line, number)
            if number == 0:
                self._check_header(entry, header)
            elif entry.get("end", 0) > length:
                break
            else:
                self._replay(entry, number)
                end = entry.get("end", end)
            known += len(line) + 1
        else:
            number = len(lines)
        if length > end and _begins_another(self.path, end):
            raise GenerationError(
                f"{self.path}: holds frames that its journal {self.journal_path} does not know; "
                "choose another output"
            )
        for path, size in ((self.journal_path, known), (self.path, end)):
            if path.exists():
                os.truncate(path, size)
        return number

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if isinstance(entry, dict):
                return entry
        except ValueError:
            pass
        raise GenerationError(f"{self.journal_path}, line {number + 1}: is no journal of a pool")

    def _check_format(self, header: Mapping[str, Any]) -> None:
        where, stated = f"{self.journal_path}, line 1", header.get(KEY)
        if POOL.version_of(stated) is not None:
            POOL.check(stated, where, GenerationError)
            if isinstance(header.get("request"), dict):
                return
        raise GenerationError(f"{where}: is no journal of a pool")

    def _check_header(self, written: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        self._check_format(written)
        ours = json.loads(json.dumps(header["request"]))
        theirs = written["request"]
        changed = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        if changed:
            raise GenerationError(
                f"{self.path}: was begun with another {', '.join(changed)}; undo that or choose "
                "another output"
            )

    def _replay(self, entry: Mapping[str, Any], number: int) -> None:
        try:
            if "unit" in entry:
                unit = (entry["unit"][0], entry["unit"][1])
                self.units[unit] = UnitRecord(entry["recipe"], entry["start"])
                return
            record = next(reversed(self.units.values()))
            if "kept" in entry:
                record.kept += 1
            elif "left_out" in entry:
                record.left_out[entry["left_out"]] += 1
            else:
                record.finished = entry["finished"] == list(next(reversed(self.units)))
        except (KeyError, IndexError, TypeError, StopIteration) as error:
            raise GenerationError(
                f"{self.journal_path}, line {number + 1}: is damaged ({error!r})"
            ) from error


def _begins_another(path: Path, start: int) -> bool:
    """Whether more than one frame, whole or torn, lies behind a place of an extended XYZ."""
    with open(path, "rb") as handle:
        handle.seek(start)
        try:
            n_atoms = int(handle.readline())
        except ValueError:
            return True
        return sum(1 for _ in handle) > n_atoms + 1
