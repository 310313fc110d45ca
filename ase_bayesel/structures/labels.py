"""Labels of structures: keys in files, targets of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ..errors import StructureError

PROPERTIES = ("energy", "forces", "virial")
REF_ENERGY, REF_FORCES, REF_VIRIAL, REF_STRESS = (
    f"REF_{name}" for name in ("energy", "forces", "virial", "stress")
)
"""Keys of labels in files that this package writes: eV, eV/A, eV, eV/A^3."""


@dataclass(frozen=True)
class PropertyKeys:
    """Where labels are found: ``atoms.info`` for energy and virial, ``atoms.arrays`` for forces.

    Energies in eV (force-consistent), forces in eV/A, the virial (-volume times
    stress) in eV as a symmetric 3x3 tensor. None means that the property is not used.
    """

    energy: str | None = "energy"
    forces: str | None = "forces"
    virial: str | None = None


@dataclass(frozen=True)
class FitTargets:
    """Labels of one structure; None where it has none.

    ``energy`` eV, ``forces (n_atoms, 3)`` eV/A, ``virial (6,)`` eV in ASE's Voigt order.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    virial: np.ndarray | None = None


def targets(atoms: Atoms, keys: PropertyKeys, where: str = "structure") -> FitTargets:
    """The labels that a structure carries under ``keys``; missing ones are None.

    A single-point calculator attached by ASE's reader serves the keys
    ``energy``, ``forces`` and, as -volume times it, ``stress``.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = forces = virial = None
    if keys.energy is not None:
        raw = atoms.info.get(keys.energy, results.get(keys.energy))
        energy = None if raw is None else float(_checked(raw, (), where, keys.energy))
    if keys.forces is not None:
        raw = atoms.arrays.get(keys.forces, results.get(keys.forces))
        forces = None if raw is None else _checked(raw, (len(atoms), 3), where, keys.forces)
    if keys.virial is not None:
        raw = atoms.info.get(keys.virial)
        if raw is None and keys.virial == "stress" and "stress" in results:
            raw = -atoms.get_volume() * voigt_6_to_full_3x3_stress(results["stress"])
        if raw is not None:
            tensor = _checked(np.reshape(raw, -1), (9,), where, keys.virial).reshape(3, 3)
            tensor = (tensor + tensor.T) / 2
            virial = tensor[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    return FitTargets(energy, forces, virial)


def _checked(raw: Any, shape: tuple[int, ...], where: str, key: str) -> np.ndarray:
    try:
        value = np.asarray(raw, float)
    except (TypeError, ValueError) as error:
        raise StructureError(f"{where}: {key!r} is not numeric ({error})") from error
    if value.shape != shape:
        raise StructureError(f"{where}: {key!r} has shape {value.shape}, expected {shape}")
    if not np.isfinite(value).all():
        raise StructureError(f"{where}: {key!r} is not finite")
    return value
