"""Monte Carlo moves between MD steps: changes of the cell and swaps of unlike atoms."""

from .base import Move, MoveState
from .cell import CellMove
from .swap import SwapMove

__all__ = ["CellMove", "Move", "MoveState", "SwapMove"]
