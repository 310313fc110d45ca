"""Monte Carlo moves between MD steps: changes of the cell and swaps of unlike atoms."""

from .base import Move, MoveState
from .cell import CellMove
from .swap import SwapMove

MOVES: tuple[type, ...] = (CellMove, SwapMove)
"""What a config can name by its kind."""

__all__ = ["MOVES", "CellMove", "Move", "MoveState", "SwapMove"]
