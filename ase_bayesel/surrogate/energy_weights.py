"""Weights of whole structures: those far up in energy, or with extreme forces, count less.

A model that is too small to fit everything pays for a few extreme labels with accuracy
everywhere else. The standard deviation of all rows of a structure therefore grows as
(1 + dE / s)^2 with dE, its energy per atom above the lowest of its composition, and as
(F / F_max)^2 where its largest force F exceeds a limit F_max. numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from ..errors import StructureError
from ..structures.labels import WHOLE

WEIGHT_KEYS = {
    "energy": "config_energy_weight",
    "forces": "config_forces_weight",
    "virial": "config_stress_weight",
}
"""Where ``atoms.info`` may hold the weight of one property, as for mace's training."""


@dataclass(frozen=True)
class EnergyWeights:
    """The growth of a structure's noise with its energy.

    Attributes
    ----------
    scale
        s, eV/atom: about 1.5 k_B T at the highest temperature for which the model is meant.
    lowest
        Lowest energy per atom, eV, less the reference energies, by composition
        (`composition_of`). A composition that is not named has a factor of one.
    """

    scale: float
    lowest: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.scale < np.inf:
            raise ValueError(f"high_energy: must be positive (eV/atom), got {self.scale}")

    def extended(self, known: Iterable[tuple[Atoms, float]]) -> EnergyWeights:
        """The same with the lowest energies of further structures.

        ``known`` are structures and their energies, eV, less the reference energies of their atoms.
        """
        lowest = dict(self.lowest)
        for atoms, energy in known:
            if _stands_apart(atoms):
                continue
            name, per_atom = composition_of(atoms), energy / len(atoms)
            lowest[name] = min(per_atom, lowest.get(name, per_atom))
        return EnergyWeights(self.scale, lowest)

    def factor(self, atoms: Atoms, energy: float) -> float:
        """(1 + dE / s)^2, by which the standard deviation of the structure's rows grows.

        Parameters
        ----------
        atoms
            Isolated atoms, dimers and cut-outs are data of their own kind: their factor is one.
        energy
            eV, less the reference energies of the atoms; predicted where there is no label.
        """
        return float((1.0 + self.rise(atoms, energy) / self.scale) ** 2)

    def rise(self, atoms: Atoms, energy: float) -> float:
        """dE, eV/atom: not negative, and zero where there is nothing to compare with.

        ``energy`` as in `factor`.
        """
        lowest = self.lowest.get(composition_of(atoms))
        if lowest is None or _stands_apart(atoms):
            return 0.0
        return float(max(0.0, energy / len(atoms) - lowest))

    def to_json(self) -> dict[str, Any]:
        """Only what JSON knows."""
        return {"scale": self.scale, "lowest": dict(self.lowest)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> EnergyWeights:
        """What `to_json` wrote.

        Raises
        ------
        ValueError
            If a number is not finite.
        """
        lowest = {str(name): float(value) for name, value in raw["lowest"].items()}
        if not np.isfinite(list(lowest.values())).all():
            raise ValueError("energy_weights: holds energies that are not finite")
        return cls(float(raw["scale"]), lowest)


def composition_of(atoms: Atoms) -> str:
    """The chemical formula and the periodic directions: what energies are compared within.

    A slab is not compared with the crystal, nor a cluster with a larger one.
    """
    periodic = "".join(axis for axis, wraps in zip("xyz", atoms.pbc, strict=True) if wraps)
    return f"{atoms.symbols.formula.format('hill')} {periodic}".strip()


def force_growth(forces: np.ndarray | None, max_force: float | None) -> float:
    """(F / max_force)^2, at least one: the growth of a structure's noise with its largest force F.

    One where there are no ``forces (n_atoms, 3)`` or no limit; both in eV/A.
    """
    largest = largest_force(forces)
    if largest is None or max_force is None:
        return 1.0
    return max(1.0, largest / max_force) ** 2


def largest_force(forces: np.ndarray | None) -> float | None:
    """The length of the largest force; None where there are none."""
    return None if forces is None else float(np.linalg.norm(forces, axis=1).max(initial=0.0))


def frame_weight(atoms: Atoms, prop: str, where: str = "structure") -> float:
    """The weight that a file gives a property of a structure, by which its noise is divided.

    ``config_weight`` in ``atoms.info`` times that of the property (`WEIGHT_KEYS`), both weights
    of a squared residual, as for mace's training.

    Raises
    ------
    StructureError
        If a weight is no number, negative or not finite.
    """
    weight = 1.0
    for key in ("config_weight", WEIGHT_KEYS[prop]):
        raw = atoms.info.get(key, 1.0)
        try:
            value = float(raw)
        except (TypeError, ValueError):
            raise StructureError(f"{where}: {key!r} is not a number, got {raw!r}") from None
        if not 0 <= value < np.inf:
            raise StructureError(f"{where}: {key!r} must be finite and not negative, got {value}")
        weight *= value
    return float(np.sqrt(weight))


def weights_of(atoms: Atoms, where: str = "structure") -> dict[str, float]:
    """`frame_weight` of each property; `StructureError` as there."""
    return {prop: frame_weight(atoms, prop, where) for prop in WEIGHT_KEYS}


def _stands_apart(atoms: Atoms) -> bool:
    """Isolated atoms and dimers, and cut-outs, whose energies mean nothing."""
    return (len(atoms) <= 2 and not atoms.pbc.any()) or WHOLE in atoms.arrays
