"""A walker's state as JSON and arrays, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from ..calculator import Evaluated
from ..driver import DriverState, Frame
from .state import WalkerState


def record_of(walker: WalkerState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON can hold of a walker, and its arrays by name."""
    meta: dict[str, Any] = {
        "step": walker.step,
        "status": walker.status,
        "rng_state": walker.rng_state,
        "ratios": walker.ratios,
        "driver": None if walker.driver is None else walker.driver.to_json(),
        "evaluated": None,
    }
    arrays = dict(vars(Frame.of(walker.atoms)))
    found = walker.evaluated
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
    Frame(**{name: arrays[name] for name in Frame.__dataclass_fields__}).put(atoms)
    evaluated = None
    if meta["evaluated"] is not None:
        evaluated = Evaluated(*meta["evaluated"], arrays["forces"], arrays.get("stress"))
    return WalkerState(
        atoms,
        meta["rng_state"],
        meta["step"],
        meta["status"],
        None if meta["driver"] is None else DriverState.from_json(meta["driver"]),
        evaluated,
        tuple(map(tuple, meta["ratios"])),
    )
