"""The state with which a walker goes on: frames, thermostat, moves, and what has happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms

from ..bias.tau import TauHistory
from .moves import MoveState
from .thermostat_check import ThermostatCheck


@dataclass(frozen=True)
class Frame:
    """What MD and moves change about atoms, in ASE's units; the cell as ``(3, 3)``."""

    numbers: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Frame:
        """The present frame of atoms."""
        momenta = atoms.get_momenta()
        return cls(atoms.numbers.copy(), atoms.get_positions(), momenta, atoms.cell.array.copy())

    def put(self, atoms: Atoms) -> None:
        """Set atoms to this frame, whatever their constraints."""
        atoms.set_cell(self.cell, scale_atoms=False, apply_constraint=False)
        atoms.numbers[:] = self.numbers
        atoms.set_positions(self.positions, apply_constraint=False)
        atoms.set_momenta(self.momenta, apply_constraint=False)


@dataclass(frozen=True)
class DriverState:
    """What, besides atoms, random state and step number, a walker goes on with.

    Attributes
    ----------
    variables
        Thermostat and barostat variables by name, flat.
    moves
        One state per Monte Carlo move.
    rollbacks
        How often the walker was rolled back.
    returns
        Absolute steps at which it met its bound of trust and went back to its start.
    frames
        Sane frames to roll back to, the oldest first; none where this is not asked for.
    tau
        Running averages of the bias before this frame was evaluated: whoever goes on
        evaluates it again, at the same tau, or has kept the evaluation.
    thermostat
        Running averages of the temperature, where there is a thermostat.
    left_start
        Absolute step at which the walker last left its start: the first one, or a return.
    """

    variables: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    moves: tuple[MoveState, ...] = ()
    rollbacks: int = 0
    returns: tuple[int, ...] = ()
    frames: tuple[Frame, ...] = ()
    tau: TauHistory = TauHistory()
    thermostat: ThermostatCheck = ThermostatCheck()
    left_start: int = 0

    def to_json(self) -> dict[str, Any]:
        """Only what JSON knows; numbers come back bit for bit."""
        frames = [{k: array.tolist() for k, array in vars(f).items()} for f in self.frames]
        return {
            "variables": {name: list(values) for name, values in self.variables.items()},
            "moves": [asdict(move) for move in self.moves],
            "rollbacks": self.rollbacks,
            "returns": list(self.returns),
            "frames": frames,
            "tau": asdict(self.tau),
            "thermostat": asdict(self.thermostat),
            "left_start": self.left_start,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> DriverState:
        """The state that `to_json` wrote."""
        return cls(
            {name: tuple(values) for name, values in raw["variables"].items()},
            tuple(MoveState(**move) for move in raw["moves"]),
            raw["rollbacks"],
            tuple(raw["returns"]),
            tuple(Frame(**{k: np.array(v) for k, v in f.items()}) for f in raw["frames"]),
            TauHistory(**raw["tau"]),
            ThermostatCheck(**raw["thermostat"]),
            raw.get("left_start", 0),  # a file of an earlier release has none, and no restraints
        )


def restarted(
    atoms: Atoms, start: Atoms, state: DriverState | None, step: int
) -> tuple[Atoms, DriverState | None]:
    """Atoms back at a start and without momenta, which `Driver` draws, and the state to go on with.

    Counts of what has happened are kept; thermostat variables and averages of tau are not.

    Parameters
    ----------
    atoms, state
        Of the walker where it turns back; not changed.
    start
        Gives positions and cell.
    step
        The absolute step at which that happens.
    """
    atoms = atoms.copy()
    frame = Frame.of(start)
    frame.put(atoms)
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    if state is not None:
        frames = (frame,) if state.frames else ()
        tau = state.tau.emptied()
        state = replace(state, variables={}, frames=frames, tau=tau, left_start=step)
    return atoms, state
