"""MACE node features as a descriptor, and one forward pass for energy and features."""

from .descriptor import MACEDescriptor
from .sketch import ForceSketch, force_sketch

__all__ = ["ForceSketch", "MACEDescriptor", "force_sketch"]
