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
from ...dynamics.driver_state import DriverState, Frame
from ...dynamics.triggers import PickState
from ...io.bounded_npz import real
from ...structures.identity import canonical
from .pick_files import arrays_of, facts_of, pick_from
from .picks import Pick
from .state import WalkerState


def record_of(walker: WalkerState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON can hold of a walker, and its arrays by name."""
    waiting = walker.waiting
    meta: dict[str, Any] = {
        "step": walker.step,
        "status": walker.status,
        "message": walker.message,
        "rng_state": walker.rng_state,
        "ratios": walker.ratios,
        "trust_ratios": walker.trust_ratios,
        "since": walker.since,
        "bound_after": walker.bound_after,
        "fired": walker.fired,
        "bias_energy": walker.bias_energy,
        "driver": None if walker.driver is None else walker.driver.to_json(),
        "evaluated": None,
        "waiting": [waiting.last, waiting.peak_step, waiting.ratio],
        "picks": {},
    }
    arrays = dict(vars(Frame.of(walker.atoms)))
    kept = walker.evaluated
    if kept is not None:
        meta["evaluated"] = [kept.energy, kept.energy_std, kept.tau, kept.terms]
        meta["histories"] = [asdict(kept.tau_state.before), asdict(kept.tau_state.after)]
        arrays["forces"] = kept.forces
        if kept.stress is not None:
            arrays["stress"] = kept.stress
    waiting_picks = {} if waiting.peak is None else {"peak": waiting.peak}
    waiting_picks |= {f"offer{k}": offer for k, offer in enumerate(walker.offers)}
    for name, pick in waiting_picks.items():
        meta["picks"][name] = facts_of(pick) | {
            "temperature_K": pick.temperature_K,
            "tau": pick.tau,
        }
        arrays |= {f"{name}_{key}": array for key, array in _varying(pick).items()}
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
    kept_picks = {
        name: _pick_from(name, start, facts, arrays) for name, facts in meta["picks"].items()
    }
    peak = kept_picks.pop("peak", None)
    state = WalkerState(
        atoms,
        meta["rng_state"],
        meta["step"],
        meta["status"],
        None if meta["driver"] is None else DriverState.from_json(meta["driver"]),
        evaluated,
        _tuples(meta["ratios"]),
        PickState(last, peak, peak_step, ratio),
        _tuples(meta["trust_ratios"]),
        meta["since"],
        meta["bound_after"],
        bool(meta["fired"]),
        None if meta["bias_energy"] is None else float(meta["bias_energy"]),
        tuple(kept_picks.values()),
        meta.get("message", ""),  # there is none in a file of an earlier release
    )
    lives = (state.since, 0 if state.bound_after is None else state.bound_after)
    if any(type(steps) is not int or steps < 0 for steps in (state.step, *lives)):
        raise ValueError("a walker has steps that are no numbers")
    if not isinstance(state.status, str) or not isinstance(state.message, str):
        raise ValueError("a walker has no proper status")
    state.generator()
    return state


def _varying(pick: Pick) -> dict[str, np.ndarray]:
    """The arrays of a pick that its walker's start does not have."""
    structure = pick.structure
    return {
        "numbers": structure.numbers,
        "positions": structure.positions,
        "cell": structure.cell.array,
        **arrays_of(pick),
    }


def _pick_from(
    name: str, start: Atoms, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Pick:
    """The pick that is kept under a name."""
    prefix = f"{name}_"
    own = {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}
    structure = canonical(start)
    structure.set_cell(own["cell"])
    for key in ("numbers", "positions"):
        structure.arrays[key] = own[key]
    return pick_from(structure, facts, own, facts["temperature_K"], facts["tau"])


def _tuples(nested: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, nested)) if isinstance(nested, list) else nested
