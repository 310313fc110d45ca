"""Conformance checks for descriptors and calculators, also those of third parties.

Each check raises `ConformanceError`, an AssertionError whose message says what
was expected; nothing is returned. They cost some dozens of evaluations.
"""

from .calculators import check_calculator
from .comparisons import ConformanceError
from .descriptors import check_descriptor
from .joint import check_joint_descriptor

__all__ = ["ConformanceError", "check_calculator", "check_descriptor", "check_joint_descriptor"]
