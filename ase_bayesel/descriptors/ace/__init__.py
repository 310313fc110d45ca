"""Linear ACE features in numpy."""

from .descriptor import ACEDescriptor

__all__ = ["ACEDescriptor"]
