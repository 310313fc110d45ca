"""A MACE model with everything needed to run it on ASE structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms

from ...errors import DescriptorError
from ...structures.electronic import CHARGE, SPIN
from ..torch.graph import Graph
from ..torch.runtime import DTYPES, default_dtype, dtype_name
from ..torch.weights import frozen
from .graphs import batched_graphs
from .internals import (
    INFO_KEYS,
    MACENames,
    cutoff_of,
    further_inputs,
    heads_of,
    known_numbers,
    run_model,
)
from .lean import lean_copy
from .loading import cut_to_elements

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
"""Largest relative deviation of a cut or lean model from the one it stands for."""
PROBED_ELEMENTS = 8
"""A lean model is compared on a cluster of at most this many of its elements."""


def states_read(module: torch.nn.Module) -> tuple[str, ...]:
    """Which keys of an `ElectronicState` a model reads."""
    read = {INFO_KEYS.get(name) for name in further_inputs(module)}
    return tuple(key for key in (CHARGE, SPIN) if key in read)


@dataclass(frozen=True)
class Network:
    """A MACE energy model on one device, in one dtype, with one head.

    ``info_keys`` and ``arrays_keys`` say where in ``atoms.info`` and
    ``atoms.arrays`` models with further inputs (total charge, spin) find them,
    in the same way as MACECalculator's. ``lean`` tells that costly blocks of the
    model are replaced by cheaper ones.
    """

    module: torch.nn.Module
    mace: MACENames
    head: str
    device: torch.device
    info_keys: Mapping[str, str]
    arrays_keys: Mapping[str, str]
    lean: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Precision of weights and features."""
        return DTYPES[dtype_name(self.module)]

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers that the model knows."""
        return known_numbers(self.module)

    @property
    def cutoff(self) -> float:
        """Cutoff radius of the model, A."""
        return cutoff_of(self.module)

    def graphs(self, frames: Sequence[Atoms]) -> dict[str, torch.Tensor]:
        """One batch of disconnected graphs of known elements, on the device."""
        mace, module = self.mace, self.module
        if not further_inputs(module):
            head = heads_of(module).index(self.head)
            made = batched_graphs(
                frames, self.numbers, self.cutoff, head, self.dtype, mace.get_neighborhood
            )
            return {name: tensor.to(self.device) for name, tensor in made.items()}
        table = mace.ElementTable(self.numbers)
        keys = mace.KeySpecification(dict(self.info_keys), dict(self.arrays_keys))
        graphs = []
        with default_dtype(dtype_name(module)):
            for atoms in frames:
                config = mace.config_from_atoms(atoms, key_specification=keys, head_name=self.head)
                graphs.append(
                    mace.AtomicData.from_config(
                        config, z_table=table, cutoff=self.cutoff, heads=heads_of(module)
                    )
                )
        return mace.Batch.from_data_list(graphs).to(self.device).to_dict()

    def forward(self, frames: Sequence[Atoms]) -> Graph:
        """One pass over a batch, with all components of the node features."""
        return self.run(self.graphs(frames))

    def run(self, data: dict[str, torch.Tensor]) -> Graph:
        """The same for a batch of graphs in the form of `graphs`, which is used up."""
        positions = data["positions"].requires_grad_(True)  # the model replaces the entry
        out = run_model(self.module, data)
        return Graph(out.energy, out.node_features, positions, out.displacement)

    def cut(self, numbers: Sequence[int]) -> Network:
        """The same network for these elements only, compared with the full one before use.

        Raises
        ------
        DescriptorError
            If the smaller model cannot be built or does not give the same numbers.
        """
        module = frozen(cut_to_elements(self.module, numbers).to(self.device))
        smaller = replace(self, module=module)
        allowed = TOLERANCE[dtype_name(module)]
        try:
            deviation = self._deviation(smaller, numbers)
        except RuntimeError as error:
            raise DescriptorError(
                f"elements: cut to {sorted(numbers)} this model does not run "
                f"({str(error).strip().splitlines()[-1]}); leave elements out"
            ) from error
        if not deviation <= allowed:
            raise DescriptorError(
                f"elements: cut to {sorted(numbers)} this model is off by {deviation:.1e} "
                f"(relative, allowed {allowed}); leave elements out"
            )
        return smaller

    def to_lean(self) -> Network:
        """The same network on `lean_copy` of its model, or itself.

        It stays itself where no block can be replaced, or the numbers differ.
        """
        module = lean_copy(self.module, self.mace.wigner_3j)
        if module is None:
            return self
        twin = replace(self, module=module, lean=True)
        probed = self.numbers[:: -(-len(self.numbers) // PROBED_ELEMENTS)]
        same = self._deviation(twin, probed) <= TOLERANCE[dtype_name(module)]
        return twin if same else self

    def _deviation(self, other: Network, numbers: Sequence[int]) -> float:
        """Largest relative deviation of another network's outputs on a cluster of elements."""
        probe = _probe(numbers, self.cutoff)
        deviations = [
            np.abs(theirs - ours).max() / (np.abs(ours).max() + 1e-12)
            for ours, theirs in zip(_outputs(self, probe), _outputs(other, probe), strict=True)
        ]
        return float(np.max(deviations))


def _probe(numbers: Sequence[int], cutoff: float) -> Atoms:
    """Eight atoms or more, two or more of each element, dense enough for every pair to meet."""
    rng = np.random.default_rng(0)
    copies = max(2, -(-8 // len(numbers)))
    shuffled = rng.permutation(np.repeat(sorted(numbers), copies))
    side = 0.7 * cutoff
    return Atoms(numbers=shuffled, positions=rng.uniform(0.0, side, (len(shuffled), 3)))


def _outputs(network: Network, atoms: Atoms) -> list[np.ndarray]:
    graph = network.forward([atoms])
    outputs = [graph.energy, graph.features]
    slopes = [graph.gradients([output], [torch.ones_like(output)])[0] for output in outputs]
    return [output.detach().cpu().numpy() for output in outputs] + slopes
