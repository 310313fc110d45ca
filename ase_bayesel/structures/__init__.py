"""Structures: reading and writing, labels, reference energies, identity, checks, neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..io.faces import lazy_names

if TYPE_CHECKING:
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
__getattr__ = lazy_names(
    __name__,
    {
        "PropertyKeys": ".labels",
        "canonical": ".identity",
        "check_structure": ".checks",
        "composition_energy": ".reference_energies",
        "iterate_frames": ".frames",
        "neighbour_pairs": ".neighbours",
        "read_frames": ".frames",
        "reference_energies": ".reference_energies",
        "structure_id": ".identity",
        "targets": ".labels",
        "write_frames": ".frames",
    },
)
