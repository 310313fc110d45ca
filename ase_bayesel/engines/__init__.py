"""Reference engines: what computes a label, in which settings, and how it fails."""

from .base import Engine, Evaluation, merged, settings_hash
from .calculators import ImportedEngine, SurrogateEngine, TBLiteEngine

__all__ = [
    "Engine",
    "Evaluation",
    "ImportedEngine",
    "SurrogateEngine",
    "TBLiteEngine",
    "merged",
    "settings_hash",
]
