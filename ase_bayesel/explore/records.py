"""A walker's state as JSON and arrays, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from ..bias import TauHistory
from ..calculator import CalculatorState, Evaluated
from .state import WalkerState


def record_of(walker: WalkerState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON can hold of a walker, and its arrays by name."""
    meta: dict[str, Any] = {
        "step": walker.step,
        "status": walker.status,
        "rng_state": walker.rng_state,
        "ratios": walker.ratios,
        "history": asdict(walker.calculator.history),
        "evaluated": None,
    }
    arrays = {
        "positions": walker.atoms.positions,
        "momenta": walker.atoms.get_momenta(),
        "cell": walker.atoms.cell.array,
    }
    found = walker.calculator.evaluated
    if found is not None:
        meta["evaluated"] = [found.energy, found.energy_std, found.tau]
        arrays["forces"] = found.forces
        if found.stress is not None:
            arrays["stress"] = found.stress
    return meta, arrays


def walker_from(
    start: Atoms, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> WalkerState:
    """The walker of `record_of`; ``start`` gives what MD does not change."""
    atoms = start.copy()
    atoms.set_cell(arrays["cell"])
    atoms.arrays["positions"] = arrays["positions"]
    atoms.arrays["momenta"] = arrays["momenta"]
    evaluated = None
    if meta["evaluated"] is not None:
        evaluated = Evaluated(*meta["evaluated"], arrays["forces"], arrays.get("stress"))
    return WalkerState(
        atoms,
        meta["rng_state"],
        meta["step"],
        meta["status"],
        CalculatorState(TauHistory(**meta["history"]), evaluated),
        tuple(map(tuple, meta["ratios"])),
    )
