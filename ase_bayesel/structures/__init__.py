"""Structures: reading and writing, labels, reference energies, identity, checks, neighbours."""

from .checks import check_structure
from .frames import iterate_frames, read_frames, write_frames
from .identity import canonical, structure_id
from .labels import PropertyKeys, targets
from .neighbours import neighbour_pairs
from .reference_energies import composition_energy, reference_energies

__all__ = [
    "PropertyKeys",
    "canonical",
    "check_structure",
    "composition_energy",
    "iterate_frames",
    "neighbour_pairs",
    "read_frames",
    "reference_energies",
    "structure_id",
    "targets",
    "write_frames",
]
