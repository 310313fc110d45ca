"""Reference calculations through ASE. A failure is a record, never a crash."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from .engines import Engine
from .engines.base import PROPERTIES
from .structures import PropertyKeys, structure_id


@dataclass(frozen=True)
class Label:
    """Outcome of one reference calculation.

    ``status`` is ``"ok"`` or ``"failed"``; ``atoms`` carries the labels under the
    property keys if ok; ``reason`` says what went wrong if not.
    """

    structure_id: str
    status: str
    atoms: Atoms
    engine: str
    wall_s: float
    reason: str = ""


def label_structure(atoms: Atoms, engine: Engine, keys: PropertyKeys) -> Label:
    """Label one structure; whatever the engine raises becomes a failed record.

    The energy is force-consistent, the forces are raw (constraints not applied),
    the virial is -volume times the stress, and present only with three periodic
    directions.
    """
    labelled = atoms.copy()
    identity = structure_id(labelled)
    wanted = zip(PROPERTIES, (keys.energy, keys.forces, keys.virial), strict=True)
    properties = [name for name, key in wanted if key is not None]
    start = time.perf_counter()
    try:
        with TemporaryDirectory() as scratch:
            found = engine.evaluate(labelled, Path(scratch), 0, properties)
        if not all(
            np.isfinite(getattr(found, name)).all()
            for name in properties
            if getattr(found, name) is not None
        ):
            raise FloatingPointError("the engine returned values that are not finite")
    except Exception as error:  # engines raise anything; the reason is kept in the record
        reason = f"{type(error).__name__}: {error}"
        return Label(identity, "failed", atoms, engine.name, time.perf_counter() - start, reason)
    if keys.energy is not None:
        labelled.info[keys.energy] = found.energy
    if keys.forces is not None:
        labelled.arrays[keys.forces] = found.forces
    if keys.virial is not None and found.stress is not None:
        virial = -atoms.get_volume() * voigt_6_to_full_3x3_stress(found.stress)
        labelled.info[keys.virial] = virial
    return Label(identity, "ok", labelled, engine.name, time.perf_counter() - start)
