"""ACE through Julia: bases and potentials of ACEpotentials v0.6 (JuLIP, ACE1)."""

from .bridge import PROJECT, Bridge
from .calculator import JulipCalculator
from .descriptor import JulipDescriptor

__all__ = ["PROJECT", "Bridge", "JulipCalculator", "JulipDescriptor"]
