"""Picks as frames of extended XYZ, and back: the keys ``bayesel_...`` are known here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ...dynamics.triggers import TriggerReport
from ...errors import StoreError
from ...structures.frames import extxyz_bytes, frames_from, read_frames
from ...structures.identity import canonical, structure_id
from .picks import AtomDeviations, Candidate, Pick

LOCAL_ENERGY_STD = "bayesel_local_energy_std"
FORCE_STD = "bayesel_force_std"
FORCE_STD_BOUND = "bayesel_force_std_bound"
EXTRAPOLATED = "bayesel_local_energy_extrapolated"


def pick_frame(pick: Pick) -> Atoms:
    """A pick as a frame for a file.

    ``info`` has ``bayesel_id``, ``bayesel_walker``, ``bayesel_step``, ``bayesel_trigger``,
    ``bayesel_value``, ``bayesel_threshold``, ``bayesel_reason``, ``bayesel_energy`` (eV, as the
    potential predicts it) and ``bayesel_energy_std`` (eV), which a cut-out has not,
    ``bayesel_atom`` where the value is that of an atom, and ``bayesel_pick``, the place in the
    batch. ``arrays`` has ``bayesel_local_energy_std`` and ``bayesel_local_energy_extrapolated``
    (eV), and ``bayesel_force_std`` or ``bayesel_force_std_bound`` (eV/A). Charge and multiplicity
    stay. No key can be taken for a label.
    """
    frame = pick.structure.copy()
    frame.info |= facts_of(pick)
    frame.arrays.update(arrays_of(pick))
    return frame


def pick_bytes(*picks: Pick) -> bytes:
    """Picks as the content of an extended XYZ file."""
    return extxyz_bytes([pick_frame(pick) for pick in picks])


def read_pick(path: Path) -> Pick:
    """The pick in a file. Temperature and tau of the walker are not in it, and NaN here.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    frame = read_frames(path, apart=False)[0]
    structure = canonical(frame)
    try:
        pick = pick_from(structure, frame.info, frame.arrays, np.nan, np.nan)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({error!r})") from error
    if structure_id(structure) != pick.structure_id:
        raise StoreError(f"{path}: is damaged (its structure is not {pick.structure_id})")
    return pick


def candidate_bytes(candidates: Sequence[Candidate]) -> bytes:
    """Candidates as the content of an extended XYZ file."""
    frames = []
    for candidate in candidates:
        frame = candidate.structure.copy()
        frame.info |= {
            "bayesel_id": candidate.structure_id,
            "bayesel_walker": candidate.walker,
            "bayesel_step": candidate.step,
        }
        frames.append(frame)
    return extxyz_bytes(frames)


def candidates_from(content: bytes, where: Path) -> tuple[Candidate, ...]:
    """The candidates of `candidate_bytes`.

    Raises
    ------
    StoreError
        Naming ``where``, if the content is damaged.
    """
    candidates = []
    try:
        for frame in frames_from(content, f"{where}, candidates"):
            walker, step = int(frame.info["bayesel_walker"]), int(frame.info["bayesel_step"])
            candidate = Candidate.of(frame, walker, step)
            if candidate.structure_id != frame.info["bayesel_id"]:
                raise ValueError("a candidate has another id than its structure")
            candidates.append(candidate)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{where}: is damaged ({error!r})") from error
    return tuple(candidates)


def facts_of(pick: Pick) -> dict[str, Any]:
    """What a file tells of a pick as a whole, by its keys."""
    report = pick.report
    facts: dict[str, Any] = {
        "bayesel_id": pick.structure_id,
        "bayesel_walker": pick.walker,
        "bayesel_step": pick.step,
        "bayesel_trigger": report.name,
        "bayesel_value": report.value,
        "bayesel_threshold": report.threshold,
        "bayesel_reason": pick.reason,
    }
    if pick.energies is not None:
        facts |= {"bayesel_energy": pick.energy, "bayesel_energy_std": pick.energy_std}
    if report.atom_index is not None:
        facts["bayesel_atom"] = report.atom_index
    if pick.number is not None:
        facts["bayesel_pick"] = pick.number
    return facts


def arrays_of(pick: Pick) -> dict[str, np.ndarray]:
    """What a file tells of a pick's atoms, by its keys; each ``(n_atoms,)``."""
    deviations = pick.deviations
    arrays = {
        LOCAL_ENERGY_STD: deviations.local_energy_std,
        FORCE_STD: deviations.force_std,
        FORCE_STD_BOUND: deviations.force_std_bound,
        EXTRAPOLATED: deviations.extrapolated,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def pick_from(
    structure: Atoms,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    temperature_K: float,
    tau: float,
) -> Pick:
    """The pick of `facts_of` and `arrays_of`, with its canonical structure.

    Parameters
    ----------
    structure
        Of the pick.
    facts, arrays
        By the keys of a file; others are left aside.
    temperature_K, tau
        Of the walker at the pick's step.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key is missing or a value makes no sense.
    """

    def of_atoms(name: str) -> np.ndarray | None:
        return np.reshape(arrays[name], len(structure)) if name in arrays else None

    value, threshold = float(facts["bayesel_value"]), float(facts["bayesel_threshold"])
    atom, number = facts.get("bayesel_atom"), facts.get("bayesel_pick")
    local = of_atoms(LOCAL_ENERGY_STD)
    if local is None:
        raise KeyError(LOCAL_ENERGY_STD)
    return Pick(
        structure,
        str(facts["bayesel_id"]),
        int(facts["bayesel_walker"]),
        int(facts["bayesel_step"]),
        TriggerReport(
            str(facts["bayesel_trigger"]),
            value,
            threshold,
            not value <= threshold,
            None if atom is None else int(atom),
        ),
        str(facts["bayesel_reason"]),
        float(facts.get("bayesel_energy", np.nan)),
        float(facts.get("bayesel_energy_std", np.nan)),
        AtomDeviations(local, *map(of_atoms, (FORCE_STD, FORCE_STD_BOUND, EXTRAPOLATED))),
        temperature_K,
        tau,
        None if number is None else int(number),
    )
