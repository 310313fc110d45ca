"""The foreign network of examples/adapter and its adapter, importable from tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples" / "adapter"))

import adapter
import pairnet
import prepare
import torch
from adapter import PairNetDescriptor

from ase_bayesel.descriptors.torch import Graph

__all__ = ["FACTORY", "FeaturesOnly", "Makers", "Mirrored", "PairNetDescriptor", "pairnet"]
EXAMPLE = Path(adapter.__file__).parent
FACTORY = f"{__name__}:PairNetDescriptor"


def made_example(folder: Path) -> Path:
    """The example's data and model, in a folder."""
    prepare.main(folder)
    return folder


class FeaturesOnly(PairNetDescriptor):
    """The same features of a network that knows no energies, and no second derivatives."""

    twice_differentiable = False

    def graph(self, frames):
        return super().graph(frames)._replace(energies=None)


class Mirrored(PairNetDescriptor):
    """Of clusters; the first feature changes its sign with a reflection.

    It is the volume that is spanned by three weighted sums of the vectors to the other atoms.
    """

    def graph(self, frames):
        graph = super().graph(frames)
        volumes, first = [], 0
        for k, atoms in enumerate(frames):
            leaf = graph.positions[first : first + len(atoms)]
            first += len(atoms)
            moved = leaf + leaf @ graph.strain[k]
            vectors = moved[None] - moved[:, None]
            squares = vectors.square().sum(dim=-1, keepdim=True)
            sums = [(vectors * torch.exp(-squares / a)).sum(dim=1) for a in (5.0, 10.0, 20.0)]
            volumes.append(torch.linalg.det(torch.stack(sums, dim=1)))
        signed = torch.cat([torch.cat(volumes)[:, None], graph.features[:, 1:]], dim=1)
        return Graph(graph.energies, signed, graph.positions, graph.strain)


class Makers:
    """Factories that are methods."""

    @staticmethod
    def small(model):
        return PairNetDescriptor(model, "float32")

    @staticmethod
    def nothing():
        return 3
