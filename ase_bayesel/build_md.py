"""From the config to what drives a walker."""

from __future__ import annotations

from collections.abc import Sequence

from .ensembles import NPT, NVE, Bussi, Ensemble, Langevin, NoseHooverChain
from .moves import CellMove, Move, SwapMove
from .sections import CellMoveConfig, EnsembleConfig, MoveConfig

ENSEMBLES: dict[str, type[Ensemble]] = {
    "nve": NVE,
    "langevin": Langevin,
    "bussi": Bussi,
    "nose_hoover_chain": NoseHooverChain,
    "npt": NPT,
}


def build_ensemble(config: EnsembleConfig) -> Ensemble:
    """The ensemble that a config describes."""
    return ENSEMBLES[config.kind](**config.model_dump(exclude={"kind"}))


def build_moves(moves: Sequence[MoveConfig]) -> tuple[Move, ...]:
    """The Monte Carlo moves that a config describes."""
    return tuple(_build_move(move) for move in moves)


def _build_move(move: MoveConfig) -> Move:
    options = move.model_dump(exclude={"kind"})
    if isinstance(move, CellMoveConfig):
        return CellMove(**options)
    elements = None if move.elements is None else tuple(move.elements)
    return SwapMove(**{**options, "elements": elements})
