"""The edge convolution of MACE as matrix products over the neighbours of each atom.

mace-torch forms a message for every edge and sums them by receiver,

    A[i, p, u, m] = sum_j w[ij, p, u] sum_m1,m2 C[p; m1, m2, m] x[j, u, m1] Y[ij, m2]

(Batatia et al., NeurIPS 2022, Eq. 8), with the radial weights w, channels u, and
one Clebsch-Gordan coupling C per path p = (l1, l2, l3). Here the neighbours of
the receivers are padded to a rectangle, so that the sum over j and m1 is one
batched matrix product per path and no message of a single edge is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch

from .internals import Instruction, TensorProduct, radial_layers

MAX_PADDING = 1.5
"""Receivers share a rectangle while it is at most this many times as wide as their degree."""


@dataclass(frozen=True)
class EdgeBlock:
    """Edges of m receivers of similar degree, laid out in m rows of ``width`` cells.

    ``receivers (m,)``; for each of its edges, ``edges`` is the number of the edge
    and ``cells`` its place among the m * width cells.
    """

    receivers: torch.Tensor
    width: int
    edges: torch.Tensor
    cells: torch.Tensor

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """Values of all edges ``(E, ...)`` -> of this block's cells ``(m * width, ...)``."""
        cells = values.new_zeros(len(self.receivers) * self.width, *values.shape[1:])
        return cells.index_copy(0, self.cells, values.index_select(0, self.edges))


def edge_blocks(receiver: torch.Tensor, n_atoms: int) -> list[EdgeBlock]:
    """All atoms that have a neighbour in blocks of falling degree.

    ``receiver (E,)`` is the atom that each edge ends at.
    """
    degree = torch.bincount(receiver, minlength=n_atoms)
    by_receiver = torch.argsort(receiver, stable=True)
    first = torch.cumsum(degree, 0) - degree
    atoms = torch.argsort(degree, descending=True, stable=True)
    blocks = []
    while len(atoms) and (width := int(degree[atoms[0]])):
        receivers = atoms[MAX_PADDING * degree[atoms] >= width]
        atoms = atoms[len(receivers) :]
        slot = torch.arange(width, device=receiver.device)
        taken = slot < degree[receivers, None]
        edges = by_receiver[(first[receivers, None] + slot)[taken]]
        blocks.append(EdgeBlock(receivers, width, edges, taken.flatten().nonzero()[:, 0]))
    return blocks


@dataclass(frozen=True)
class _Path:
    """One path: its input irreps (``slot``), columns of the radial weights, output dimension."""

    slot: int
    weights: slice
    dim: int


class Convolution(torch.nn.Module):
    """A channelwise tensor product of e3nn, summed over the edges that end at an atom.

    Parameters
    ----------
    product
        e3nn TensorProduct; see `supported`.
    mixing
        ``(H, weight_numel)`` the linear map from radial features to its weights.
    wigner_3j
        e3nn's function of that name.
    """

    def __init__(
        self, product: TensorProduct, mixing: torch.Tensor, wigner_3j: Callable[..., torch.Tensor]
    ) -> None:
        super().__init__()
        self.mixing = mixing
        inputs, harmonics = product.irreps_in1, product.irreps_in2
        self._inputs = [
            (columns, block.mul, block.ir.dim)
            for columns, block in zip(inputs.slices(), inputs, strict=True)
        ]
        self._paths: list[_Path] = []
        couplings = []
        for instruction, weights in sorted(_weighted(product), key=lambda path: path[0].i_out):
            first, out = inputs[instruction.i_in1].ir, product.irreps_out[instruction.i_out].ir
            second = harmonics[instruction.i_in2].ir
            tensor = wigner_3j(first.l, second.l, out.l, dtype=torch.float64)
            coupling = torch.zeros(harmonics.dim, out.dim * first.dim, dtype=torch.float64)
            coupling[harmonics.slices()[instruction.i_in2]] = (
                instruction.path_weight * tensor.permute(1, 2, 0).flatten(1)
            )
            couplings.append(coupling)
            self._paths.append(_Path(instruction.i_in1, weights, out.dim))
        self._width = sum(path.dim * inputs[path.slot].mul for path in self._paths)
        self._widths = [coupling.shape[1] for coupling in couplings]
        self.coupling = torch.cat(couplings, dim=1).to(mixing)

    @staticmethod
    def supported(product: TensorProduct) -> bool:
        """Whether every path is 'uvu' with weights of its own, one harmonic, one output."""
        if type(product).__name__ != "TensorProduct" or product.shared_weights:
            return False
        outputs = [path.i_out for path in product.instructions]
        return sorted(outputs) == list(range(len(product.irreps_out))) and all(
            path.connection_mode == "uvu"
            and path.has_weight
            and product.irreps_in2[path.i_in2].mul == 1
            for path in product.instructions
        )

    def forward(
        self,
        node_features: torch.Tensor,
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        edge_index: torch.Tensor,
    ) -> torch.Tensor:
        """Messages ``(A, irreps_out)``.

        ``node_features (A, irreps_in1)``, ``harmonics (E, irreps_in2)``, ``radial (E, H)``
        features of the edge lengths, ``edge_index (2, E)`` sender and receiver.
        """
        n_atoms = len(node_features)
        inputs = [
            node_features[:, columns].reshape(n_atoms, mul, dim).transpose(1, 2).flatten(1)
            for columns, mul, dim in self._inputs
        ]
        nothing = radial[:0].sum()  # part of the graph, also where there is no edge
        messages = nothing.expand(n_atoms, self._width)
        for block in edge_blocks(edge_index[1], n_atoms):
            received = self._messages(block, inputs, harmonics, radial, edge_index[0])
            messages = messages.index_copy(0, block.receivers, received)
        return messages

    def _messages(
        self,
        block: EdgeBlock,
        inputs: Sequence[torch.Tensor],
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        sender: torch.Tensor,
    ) -> torch.Tensor:
        """Messages to the receivers of a block; an empty cell has no radial features."""
        n_receivers, width = len(block.receivers), block.width
        sender, radial = block.padded(sender), block.padded(radial)
        neighbours = [
            torch.nn.functional.embedding(sender, rows).view(-1, dim, mul)
            for rows, (_, mul, dim) in zip(inputs, self._inputs, strict=True)
        ]
        angular = (block.padded(harmonics) @ self.coupling).split(self._widths, dim=1)
        messages = []
        for path, angle in zip(self._paths, angular, strict=True):
            _, mul, dim = self._inputs[path.slot]
            weights = radial @ self.mixing[:, path.weights]
            weighted = (weights[:, None] * neighbours[path.slot]).view(n_receivers, -1, mul)
            angle = angle.view(n_receivers, width, path.dim, dim).transpose(1, 2)
            message = angle.reshape(n_receivers, path.dim, width * dim) @ weighted
            messages.append(message.transpose(1, 2).flatten(1))
        return torch.cat(messages, dim=1)


def _weighted(product: TensorProduct) -> list[tuple[Instruction, slice]]:
    """Each instruction with its columns of the external weights."""
    weighted, start = [], 0
    for instruction in product.instructions:
        stop = start + product.irreps_in1[instruction.i_in1].mul
        weighted.append((instruction, slice(start, stop)))
        start = stop
    return weighted


class RadialLayers(torch.nn.Module):
    """The hidden layers of e3nn's fully connected network, with all constants in the weights.

    ``mixing`` is its last layer, which is linear and therefore left to `Convolution`.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        *hidden, last = radial_layers(network)
        self._layers: list[torch.Tensor] = []
        scale = 1.0
        for layer in hidden:
            self._layers.append(layer.weight.detach() * (scale / sqrt(layer.h_in * layer.var_in)))
            scale = layer.act.cst * sqrt(layer.var_out)
        scale *= sqrt(last.var_out / (last.h_in * last.var_in))
        self.mixing = last.weight.detach() * scale

    @staticmethod
    def supported(network: torch.nn.Module) -> bool:
        """Whether all hidden layers end in a normalised SiLU and the last one is linear."""
        if type(network).__name__ != "FullyConnectedNet":
            return False
        *hidden, last = radial_layers(network)
        silu = torch.nn.functional.silu
        return last.act is None and all(getattr(layer.act, "f", None) is silu for layer in hidden)

    def forward(self, radial: torch.Tensor) -> torch.Tensor:
        """``(E, n_radial)`` -> features ``(E, H)`` of the edge lengths."""
        for weight in self._layers:
            radial = torch.nn.functional.silu(radial @ weight)
        return radial
