"""One forward pass of a torch model as an adapter hands it over, and the leaves that it needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ...errors import DescriptorError
from ...structures.neighbours import crossing_pairs
from ..base import voigt6


class Graph(NamedTuple):
    """A forward pass over B structures with A atoms in all, and what autograd needs of it.

    Attributes
    ----------
    energies
        ``(B,)`` total energies, eV, as the model's own calculator gives them; None for a
        model without energies.
    features
        ``(A, D)``, one row per atom in the order of the structures.
    positions
        ``(A, 3)``, the leaf that stands for the positions, A.
    strain
        ``(B, 3, 3)``, the leaf that stands for a strain of each structure; zero.
    """

    energies: torch.Tensor | None
    features: torch.Tensor
    positions: torch.Tensor
    strain: torch.Tensor

    @property
    def energy(self) -> torch.Tensor:
        """The ``energies``, where there are some.

        Raises
        ------
        DescriptorError
            If there are none.
        """
        if self.energies is None:
            raise DescriptorError("this model has features only, no energy")
        return self.energies

    def gradients(
        self,
        outputs: Sequence[torch.Tensor],
        cotangents: Sequence[torch.Tensor],
        last: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient of sum(outputs . cotangents) by positions ``(A, 3)`` and strain ``(B, 6)``.

        One backward pass; the graph is kept for more unless it is the ``last``.
        """
        gradients = self.gradient_tensors(outputs, cotangents, last)
        by_position, by_strain = (grad.cpu().numpy().astype(float) for grad in gradients)
        return by_position, voigt6(by_strain)

    def gradient_tensors(
        self,
        outputs: Sequence[torch.Tensor],
        cotangents: Sequence[torch.Tensor],
        last: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same on the device: ``(A, 3)`` and ``(B, 3, 3)``, as they come."""
        pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
        leaves = [self.positions, self.strain]
        if not pairs:  # no atom has a neighbour
            return torch.zeros_like(self.positions), torch.zeros_like(self.strain)
        outputs, cotangents = zip(*pairs, strict=True)
        by_position, by_strain = torch.autograd.grad(
            outputs, leaves, cotangents, retain_graph=not last, materialize_grads=True
        )
        return by_position, by_strain

    def checked(self, adapter: str, sizes: Sequence[int], n_features: int) -> Graph:
        """Itself.

        Raises
        ------
        DescriptorError
            If a tensor has another shape than structures of these ``sizes`` and ``n_features``
            ask for, or a leaf was not made to be differentiated by.
        """
        n_atoms, n_frames = sum(sizes), len(sizes)
        shapes = {
            "energies": (n_frames,),
            "features": (n_atoms, n_features),
            "positions": (n_atoms, 3),
            "strain": (n_frames, 3, 3),
        }
        for (name, shape), tensor in zip(shapes.items(), self, strict=True):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise DescriptorError(
                    f"{adapter}.graph: {name} must have the shape {shape} for {n_frames} "
                    f"structures of {n_atoms} atoms in all, got {tuple(tensor.shape)}"
                )
        for name, leaf in (("positions", self.positions), ("strain", self.strain)):
            if torch.is_grad_enabled() and not leaf.requires_grad:
                raise DescriptorError(
                    f"{adapter}.graph: {name} is no leaf that can be differentiated by; hand on "
                    "those of `strained`"
                )
        return self


class Strained(NamedTuple):
    """Structures under a strain that is zero and can be differentiated by.

    ``positions (A, 3)`` and ``strain (B, 3, 3)`` are the leaves, to be handed on in a `Graph`.
    A model is to see what follows from them: ``moved (A, 3)`` and ``cells (B, 3, 3)``, A.
    ``batch (A,)`` is the number of each atom's structure.
    """

    positions: torch.Tensor
    strain: torch.Tensor
    moved: torch.Tensor
    cells: torch.Tensor
    batch: torch.Tensor

    def vectors(
        self, first: torch.Tensor, second: torch.Tensor, crossed: torch.Tensor
    ) -> torch.Tensor:
        """Vectors ``(E, 3)`` of edges, A.

        From atom ``first (E,)`` to atom ``second (E,)``, the numbers over all structures, in the
        image that is ``crossed (E, 3)`` cells away.
        """
        shifts = torch.einsum("ek,ekx->ex", crossed.to(self.moved), self.cells[self.batch[first]])
        return self.moved[second] - self.moved[first] + shifts


def strained(
    frames: Sequence[Atoms], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Strained:
    """The leaves of a pass over structures, and positions and cells that depend on them.

    A strain e takes a position r to r (1 + e) and a cell h to h (1 + e).

    Parameters
    ----------
    frames
        B structures with A atoms in all; positions outside the cell stay there.
    dtype, device
        Of the tensors.
    """

    def tensor(arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device, dtype)

    sizes = torch.tensor([len(atoms) for atoms in frames])
    batch = torch.repeat_interleave(sizes).to(device)
    positions = tensor([atoms.positions for atoms in frames]).requires_grad_(True)
    cells = tensor([atoms.cell.array[None] for atoms in frames])
    strain = torch.zeros_like(cells).requires_grad_(True)
    moved = positions + torch.einsum("ax,axy->ay", positions, strain[batch])
    return Strained(positions, strain, moved, cells + cells @ strain, batch)


class Edges(NamedTuple):
    """Pairs of neighbours over structures, images included, for `Strained.vectors`.

    ``first (E,)`` and ``second (E,)`` are the numbers of the atoms over all structures;
    ``crossed (E, 3)`` how many cells the image of the second is away.
    """

    first: torch.Tensor
    second: torch.Tensor
    crossed: torch.Tensor


def edges(frames: Sequence[Atoms], cutoff: float, device: torch.device | str = "cpu") -> Edges:
    """All pairs closer than ``cutoff`` (A), in each direction, one structure after the other."""
    parts, before = [], 0
    for atoms in frames:
        pairs = crossing_pairs(atoms, cutoff)
        parts.append((pairs.first + before, pairs.second + before, pairs.crossed))
        before += len(atoms)
    joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Edges(*(torch.from_numpy(array).to(device, torch.long) for array in joined))


def check_structure(atoms: Atoms, elements: Collection[str]) -> None:
    """Refuse what no model can evaluate.

    Raises
    ------
    DescriptorError
        For an element that is not one of ``elements``, or a value that is not finite.
    """
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise DescriptorError("positions or cell: not finite (NaN or infinite)")
    unknown = {chemical_symbols[z] for z in set(atoms.numbers.tolist())}.difference(elements)
    if unknown:
        known = sorted(elements, key=atomic_numbers.__getitem__)
        raise DescriptorError(
            f"element {min(unknown, key=atomic_numbers.__getitem__)!r} is not one of the "
            f"descriptor's {known if len(known) < 20 else f'{len(known)} elements'}"
        )


def structure_sums(
    values: torch.Tensor, structure: torch.Tensor, n_structures: int
) -> torch.Tensor:
    """Sums ``(B, D)`` of values ``(A, D)`` over the atoms of each structure.

    ``structure (A,)`` is the number of each atom's structure, below ``n_structures``.
    """
    zeros = values.new_zeros(n_structures, values.shape[1])
    return zeros.index_add(0, structure, values)
