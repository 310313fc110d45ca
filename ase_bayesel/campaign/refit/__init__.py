"""Training a potential on the grown training set."""

from .base import RefitProgress, RefitTask, Refitter, refit_alone
from .command import CommandRefitter
from .elsewhere import refit_elsewhere
from .forgetting import LoRA, MultiHead
from .mace import MACERefitter

REFITTERS: tuple[type, ...] = (MACERefitter, CommandRefitter)
"""What a config can name by its kind."""

__all__ = [
    "REFITTERS",
    "CommandRefitter",
    "LoRA",
    "MACERefitter",
    "MultiHead",
    "RefitProgress",
    "RefitTask",
    "Refitter",
    "refit_alone",
    "refit_elsewhere",
]
