"""Features of any torch model: an adapter writes one hook, the rest is here."""

from .descriptor import TorchDescriptor
from .graph import Edges, Graph, Strained, edges, strained
from .weights import frozen

__all__ = ["Edges", "Graph", "Strained", "TorchDescriptor", "edges", "frozen", "strained"]
