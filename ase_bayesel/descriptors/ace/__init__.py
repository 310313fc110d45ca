"""Linear ACE features in PyTorch."""

from .descriptor import ACEDescriptor

__all__ = ["ACEDescriptor"]
