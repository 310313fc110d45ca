"""torch-sim 0.3 (Python 3.11) and 0.6 (Python 3.12): all that differs between them.

This alone imports torch_sim. Neighbours are vesin's own, whose signature is the same beside both.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from ..errors import StructureError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_sim.integrators.md import MDState, momentum_step, position_step
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
    from vesin_torch import NeighborList

__all__ = [
    "MDState",
    "ModelInterface",
    "SimState",
    "momentum_step",
    "neighbour_pairs",
    "periodic_axes",
    "periodicity",
    "position_step",
]

PER_AXIS = hasattr(SimState, "rng")
"""Whether a state is periodic axis by axis, as since 0.6; before, along all of them or none."""


def periodic_axes(state: SimState) -> torch.Tensor:
    """Along which cell vectors all systems of a state are periodic, ``(3,)`` on the CPU."""
    return torch.as_tensor(state.pbc).cpu().expand(3).contiguous()


def periodicity(axes: Sequence[bool]) -> bool | list[bool]:
    """What a state takes as its periodicity.

    Parameters
    ----------
    axes
        Whether it is periodic along each of the three cell vectors.

    Raises
    ------
    StructureError
        If only some are and this release of torch-sim cannot tell them apart.
    """
    each = [bool(axis) for axis in axes]
    if all(each) or not any(each):
        return each[0]
    if PER_AXIS:
        return each
    raise StructureError(
        f"pbc is {each}: this torch-sim knows all axes or none; torch-sim 0.6, for Python "
        "3.12 and newer, knows each"
    )


def neighbour_pairs(
    positions: torch.Tensor, cell: torch.Tensor, axes: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """All ordered pairs within a distance, ``(2, E)``, and the cells that they cross, ``(E, 3)``.

    Parameters
    ----------
    positions
        ``(n_atoms, 3)`` A, float64 on the CPU; they need not be in the cell.
    cell
        ``(3, 3)`` A, vectors in rows.
    axes
        ``(3,)``, see `periodic_axes`.
    cutoff
        A.
    """
    first, second, crossed = NeighborList(cutoff, full_list=True).compute(
        points=positions, box=cell, periodic=axes, quantities="ijS"
    )
    return torch.stack([first, second]).long(), crossed.to(positions)
