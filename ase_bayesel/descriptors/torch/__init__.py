"""Features of any torch model: an adapter writes one hook, the rest is here."""

from .descriptor import TorchDescriptor
from .graph import Graph, Strained, strained
from .weights import frozen

__all__ = ["Graph", "Strained", "TorchDescriptor", "frozen", "strained"]
