"""Labels that a user computed and put in place, matched to the picks they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ..errors import LabellingError
from ..structures.frames import read_frames
from ..structures.labels import PROPERTIES, PropertyKeys, targets
from .engines import ReferenceResult
from .store import BY_HAND, Label

TOLERANCE_A = 1e-3
"""A label belongs to a pick if no atom and no cell vector differs by more."""
FAILED_KEY = "bayesel_failed"
"""Set in a frame's info to give the structure up."""


def read_labels_by_hand(path: Path, picks: Sequence[Atoms], keys: PropertyKeys) -> list[Label]:
    """Labels of the picks found in a file.

    Raises
    ------
    StructureError
        If the file cannot be read.
    LabellingError
        If a frame is none of the picks or lacks a label, naming the frame and the key.
    """
    labels = []
    for k, frame in enumerate(read_frames(path)):
        where = f"{path}, frame {k}"
        pick = next((p for p in picks if _same_structure(p, frame)), None)
        if pick is None:
            raise LabellingError(f"{where}: is none of the {len(picks)} structures of the batch")
        labels.append(_label(pick, frame, keys, where))
    return labels


def _label(pick: Atoms, frame: Atoms, keys: PropertyKeys, where: str) -> Label:
    label = Label(pick, BY_HAND, "by hand")
    if frame.info.get(FAILED_KEY):
        return replace(label, reason="given up by the user")
    values = targets(frame, keys, where)
    for prop in PROPERTIES:
        key = getattr(keys, prop)
        if prop != "virial" and key is not None and getattr(values, prop) is None:
            raise LabellingError(
                f"{where}: has no {key!r}; add it, or set {FAILED_KEY}=T to give the structure up"
            )
    stress = None
    if values.virial is not None and pick.pbc.all():
        stress = -values.virial / pick.get_volume()
    return replace(label, values=ReferenceResult(values.energy, values.forces, stress))


def _same_structure(pick: Atoms, frame: Atoms) -> bool:
    if len(pick) != len(frame) or (pick.numbers != frame.numbers).any():
        return False
    if np.abs(pick.cell.array - frame.cell.array).max() > TOLERANCE_A:
        return False
    _, distances = find_mic(pick.positions - frame.positions, pick.cell, pick.pbc)
    return bool(distances.max() <= TOLERANCE_A)
