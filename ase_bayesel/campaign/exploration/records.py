"""A walker's state as JSON and arrays, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms

from ...bias.kinds import BiasTerms
from ...bias.prediction import Evaluated
from ...bias.tau import TauHistory, TauState
from ...dynamics.driver import DriverState, Frame
from ...dynamics.triggers import PickState
from ...io.bounded_npz import real
from ...structures.identity import canonical
from .state import WalkerState

PEAK = "peak_"


def record_of(walker: WalkerState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON can hold of a walker, and its arrays by name."""
    waiting = walker.waiting
    meta: dict[str, Any] = {
        "step": walker.step,
        "status": walker.status,
        "rng_state": walker.rng_state,
        "ratios": walker.ratios,
        "driver": None if walker.driver is None else walker.driver.to_json(),
        "evaluated": None,
        "waiting": [waiting.last, waiting.peak_step, waiting.ratio],
        "peak": None,
    }
    arrays = dict(vars(Frame.of(walker.atoms)))
    found = walker.evaluated
    if found is not None:
        meta["evaluated"] = [found.energy, found.energy_std, found.tau, found.terms]
        meta["histories"] = [asdict(found.tau_state.before), asdict(found.tau_state.after)]
        arrays["forces"] = found.forces
        if found.stress is not None:
            arrays["stress"] = found.stress
    if waiting.peak is not None:
        meta["peak"] = waiting.peak.info
        arrays |= {f"{PEAK}{name}": array for name, array in _varying(waiting.peak).items()}
    return meta, arrays


def walker_from(
    start: Atoms, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> WalkerState:
    """The walker of `record_of`; ``start`` gives what MD does not change."""
    atoms, places = start.copy(), (len(start), 3)
    real(arrays["numbers"], places[:1])
    for name in ("positions", "momenta", *({"forces"} & set(arrays))):
        real(arrays[name], places)
    real(arrays["cell"], (3, 3))
    Frame(**{name: arrays[name] for name in Frame.__dataclass_fields__}).put(atoms)
    evaluated = None
    if meta["evaluated"] is not None:
        energy, energy_std, tau, terms = meta["evaluated"]
        stress = arrays.get("stress")
        tau_state = TauState(*(TauHistory(**history) for history in meta["histories"]))
        forces, bias = arrays["forces"], BiasTerms(*terms)
        evaluated = Evaluated(energy, energy_std, tau, bias, forces, stress, tau_state)
    last, peak_step, ratio = meta["waiting"]
    peak = None if meta["peak"] is None else _peak_from(start, meta["peak"], arrays)
    state = WalkerState(
        atoms,
        meta["rng_state"],
        meta["step"],
        meta["status"],
        None if meta["driver"] is None else DriverState.from_json(meta["driver"]),
        evaluated,
        _tuples(meta["ratios"]),
        PickState(last, peak, peak_step, ratio),
    )
    if type(state.step) is not int or state.step < 0 or not isinstance(state.status, str):
        raise ValueError("a walker has no proper step or status")
    state.generator()
    return state


def _varying(pick: Atoms) -> dict[str, np.ndarray]:
    """The arrays of a pick that its walker's start does not have."""
    named = {name: array for name, array in pick.arrays.items() if name.startswith("bayesel_")}
    return {
        "numbers": pick.numbers,
        "positions": pick.positions,
        "cell": pick.cell.array,
        **named,
    }


def _peak_from(start: Atoms, info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Atoms:
    """The pick that waits."""
    own = {k.removeprefix(PEAK): array for k, array in arrays.items() if k.startswith(PEAK)}
    peak = canonical(start)
    peak.set_cell(own.pop("cell"))
    peak.arrays.update(own)
    peak.info.update(info)
    return peak


def _tuples(nested: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested
