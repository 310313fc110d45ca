"""MACE node features as a descriptor, and one forward pass for energy and features."""

from .descriptor import MACEDescriptor

__all__ = ["MACEDescriptor"]
