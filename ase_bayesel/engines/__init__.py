"""Reference engines: what computes a label, in which settings, and how it fails."""

from .abinit import AbinitEngine
from .base import Engine, Evaluation, merged, settings_hash
from .calculators import ImportedEngine, SurrogateEngine, TBLiteEngine
from .cp2k import CP2KEngine
from .espresso import EspressoEngine

__all__ = [
    "AbinitEngine",
    "CP2KEngine",
    "Engine",
    "EspressoEngine",
    "Evaluation",
    "ImportedEngine",
    "SurrogateEngine",
    "TBLiteEngine",
    "merged",
    "settings_hash",
]
