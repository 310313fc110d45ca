"""Structures as one batch of graphs, in the form in which MACE models take them.

mace-torch makes some thirty tensors for each structure, most of them labels, collates them and
moves them to the device one by one. On a GPU that takes longer than the model does; here only
what the model reads is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

Neighbourhood = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def batched_graphs(
    frames: Sequence[Atoms],
    numbers: Sequence[int],
    cutoff: float,
    head: int,
    dtype: torch.dtype,
    neighbourhood: Neighbourhood,
) -> dict[str, torch.Tensor]:
    """One batch of disconnected graphs, on the CPU.

    Parameters
    ----------
    frames
        Structures of known elements.
    numbers
        Atomic numbers that the model knows, in its order.
    cutoff
        Radius of the model, A.
    head
        Index of the model's head.
    dtype
        Of all that is not an index.
    neighbourhood
        `mace.data.get_neighborhood`, so that the edges and their order are mace's.

    Returns
    -------
    For A atoms, B structures and E edges: ``positions (A, 3)``, ``cell (3 B, 3)``, ``batch (A,)``
    the number of each atom's structure, ``ptr (B + 1,)`` where their atoms begin, ``node_attrs
    (A, Z)`` one-hot elements, ``edge_index (2, E)`` sender and receiver, ``unit_shifts (E, 3)`` the
    cells that an edge crosses, ``shifts (E, 3)`` the same in A, and ``head (B,)``.
    """
    sizes = [len(atoms) for atoms in frames]
    ptr = np.cumsum([0, *sizes])
    edges, shifts, unit_shifts, cells = [], [], [], []
    for atoms, first in zip(frames, ptr[:-1], strict=True):
        pairs, shift, unit_shift, cell = neighbourhood(
            atoms.positions, cutoff, tuple(atoms.pbc.tolist()), atoms.cell.array.copy()
        )
        edges.append(pairs + first)
        shifts.append(shift)
        unit_shifts.append(unit_shift)
        cells.append(cell)
    index = np.full(len(chemical_symbols), -1)
    index[list(numbers)] = np.arange(len(numbers))
    types = torch.from_numpy(index[np.concatenate([atoms.numbers for atoms in frames])])

    def joined(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(dtype)

    return {
        "positions": joined([atoms.positions for atoms in frames]),
        "cell": joined(cells),
        "batch": torch.from_numpy(np.repeat(np.arange(len(frames)), sizes)),
        "ptr": torch.from_numpy(ptr),
        "node_attrs": torch.nn.functional.one_hot(types, len(numbers)).to(dtype),
        "edge_index": torch.from_numpy(np.concatenate(edges, axis=1)).long(),
        "unit_shifts": joined(unit_shifts),
        "shifts": joined(shifts),
        "head": torch.full((len(frames),), head),
    }
