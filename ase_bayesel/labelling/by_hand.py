"""Labels that a user computed and put in place, matched to the picks they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ..errors import LabellingError
from ..structures.electronic import electronic_state
from ..structures.frames import read_frames
from ..structures.identity import difference, matching_order, states_of
from ..structures.labels import PROPERTIES, WHOLE, PropertyKeys, targets
from .engines import ReferenceResult
from .store import BY_HAND, Label

TOLERANCE_A = 1e-3
"""A label belongs to a pick if no atom and no cell vector differs by more."""
FAILED_KEY = "bayesel_failed"
"""Set in a frame's info to give the structure up."""
SAME_EV = 1e-3
"""Two labels of one pick may differ by so much in energy (eV) and forces (eV/A)."""


def read_labels_by_hand(path: Path, picks: Sequence[Atoms], keys: PropertyKeys) -> list[Label]:
    """Labels of the picks found in a file.

    Atoms may be in another order, as programs leave them that sort by element, and wrapped
    otherwise: forces go back to the atoms of the pick.

    Raises
    ------
    StructureError
        If the file cannot be read.
    LabellingError
        If a frame is none of the picks or lacks a label, or two frames contradict each other,
        naming the frame and what differs.
    """
    labels: dict[int, tuple[int, Label]] = {}
    for k, frame in enumerate(read_frames(path, apart=False)):
        where = f"{path}, frame {k}"
        number, order = _pick_of(frame, picks, where)
        label = _label(picks[number], frame, order, keys, where)
        first, known = labels.setdefault(number, (k, label))
        if not _agree(known, label):
            raise LabellingError(
                f"{where}: contradicts frame {first}, another label of the same structure"
                f"{_how_far(known, label)}; remove one of them"
            )
    return [label for _, label in labels.values()]


def _pick_of(frame: Atoms, picks: Sequence[Atoms], where: str) -> tuple[int, np.ndarray]:
    """The number of the pick that a frame is, and the frame's atoms in the pick's order."""
    found = {}
    for number, pick in enumerate(picks):
        order = matching_order(pick, frame, TOLERANCE_A)
        if order is not None:
            found[number] = order
    if found and not any((picks[n].pbc == frame.pbc).all() for n in found):
        pick = picks[next(iter(found))]
        raise LabellingError(
            f"{where}: is periodic along {_pbc(frame)} (T: yes), and the structure of the batch "
            f"along {_pbc(pick)}; calculate that, or, if it is what was calculated, set pbc to it"
        )
    found = {n: order for n, order in found.items() if (picks[n].pbc == frame.pbc).all()}
    own = electronic_state(frame).own  # a program may leave it out, but not say otherwise
    told = {n for n in found if not own or own == electronic_state(picks[n]).own}
    if found and not told:
        state = electronic_state(picks[next(iter(found))])
        raise LabellingError(
            f"{where}: has {electronic_state(frame)}, and the structure of the batch {state}"
        )
    found = {number: found[number] for number in told}
    if len(found) > 1:  # of several electronic states of one geometry, that of the frame
        same = {n: o for n, o in found.items() if _same_state(picks[n], frame[o])}
        if len(same) != 1:
            raise LabellingError(
                f"{where}: has the geometry of {len(found)} structures of the batch, which differ "
                "in charge, multiplicity, initial moments or charges; keep these in the frame"
            )
        found = same
    if found:
        return next(iter(found.items()))
    hint = next((t for p in picks if (t := difference(p, frame, TOLERANCE_A)) is not None), None)
    raise LabellingError(
        f"{where}: is none of the {len(picks)} structures of the batch"
        + ("" if hint is None else f"; {hint}")
    )


def _pbc(atoms: Atoms) -> str:
    return " ".join("T" if periodic else "F" for periodic in atoms.pbc)


def _label(pick: Atoms, frame: Atoms, order: np.ndarray, keys: PropertyKeys, where: str) -> Label:
    label = Label(pick, BY_HAND, "by hand")
    if frame.info.get(FAILED_KEY):
        return replace(label, reason="given up by the user")
    if WHOLE in pick.arrays:  # all forces are kept, as of an engine; the pick says which count
        frame, keys = frame.copy(), PropertyKeys(None, keys.forces)
        frame.arrays.pop(WHOLE, None)
    values = targets(frame, keys, where)
    for prop in PROPERTIES:
        key = getattr(keys, prop)
        if prop != "virial" and key is not None and getattr(values, prop) is None:
            raise LabellingError(
                f"{where}: has no {key!r}; add it, or set {FAILED_KEY}=T to give the structure up"
            )
    forces = None if values.forces is None else values.forces[order]
    stress = None if values.virial is None else -values.virial / pick.get_volume()
    return replace(label, values=ReferenceResult(values.energy, forces, stress))


def _same_state(pick: Atoms, frame: Atoms) -> bool:
    ours, theirs = states_of(pick), states_of(frame)
    if electronic_state(pick) != electronic_state(frame):
        return False
    return ours.keys() == theirs.keys() and all(
        np.allclose(ours[name], theirs[name], atol=1e-6) for name in ours
    )


def _agree(one: Label, other: Label) -> bool:
    if one.values is None or other.values is None:
        return one.ok == other.ok
    return all(
        np.abs(np.subtract(ours, theirs)).max() <= SAME_EV
        for ours, theirs in (
            (one.values.energy, other.values.energy),
            (one.values.forces, other.values.forces),
        )
        if ours is not None and theirs is not None
    )


def _how_far(one: Label, other: Label) -> str:
    if one.values is None or other.values is None:
        return " (one of them gives the structure up)"
    if one.values.energy is None or other.values.energy is None:
        return ""
    return f" (energies differ by {abs(one.values.energy - other.values.energy):.4g} eV)"
