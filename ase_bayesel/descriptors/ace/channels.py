"""In which channels of A the species of neighbours appear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..embedding import Embedding


@dataclass(frozen=True)
class Channels:
    """Weights of NZ species in R channels of A: one species each, or those of an `Embedding`.

    Products are made of the first channels only, those with a cost. As many as species are needed
    to take self-interaction out of them: products of weights of one neighbour are combinations
    of all channels.

    Attributes
    ----------
    weights
        R = NZ orthogonal rows of NZ weights.
    costs
        What a factor of each of the first channels adds to the degree of a product.
    """

    weights: tuple[tuple[float, ...], ...]
    costs: tuple[float, ...]

    @classmethod
    def of_species(cls, n_species: int) -> Channels:
        """One channel for each species, which adds nothing to the degree."""
        return cls(_rows(np.eye(n_species)), (0.0,) * n_species)

    @classmethod
    def of(cls, elements: Sequence[str], embedding: Embedding | None) -> Channels:
        """Those of an embedding of these elements, or one for each of them."""
        if embedding is None:
            return cls.of_species(len(elements))
        return cls(_rows(embedding.rows(elements)), embedding.costs)

    def product(self, channels: Sequence[int]) -> np.ndarray:
        """``(R,)`` in all channels, what the product of some of them is for a lone neighbour."""
        rows = np.array(self.weights)
        weights = np.prod(rows[list(channels)], axis=0)
        return np.asarray(rows @ weights / np.sum(rows**2, axis=1))


def _rows(weights: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, weights.tolist()))
