"""The edges of a structure for the compiled passes.

Those of an atom lie side by side, to neighbours of one species after those of another, and are
filled up to a multiple of `PAD` with edges that no function sees, so that loops over them become
vector instructions.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .jit import jit
from .tables import Neighbourhood

PAD = 16


@jit
def neighbourhood(
    cutoff: float,
    n_species: int,
    positions: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    offsets: np.ndarray,
    species: np.ndarray,
) -> Neighbourhood:
    """The pairs within the cutoff, by atom and species of neighbours.

    Parameters
    ----------
    cutoff, n_species
        A; and the number NZ of species.
    positions
        ``(N, 3)``, A.
    first, second, offsets
        Pairs that may be within the cutoff (`structures.neighbours.Candidates`).
    species
        ``(N,)`` of each atom.
    """
    n_atoms = len(species)
    size = len(first) + n_atoms * (PAD - 1)
    starts = np.zeros(n_atoms + 1, np.int64)
    ends = np.zeros((n_atoms, n_species + 1), np.int64)
    neighbours = np.empty(size, np.int64)
    vectors, lengths = np.empty((3, size)), np.empty(size)
    candidate, e = 0, 0
    for i in range(n_atoms):
        begin = candidate
        while candidate < len(first) and first[candidate] == i:
            candidate += 1
        ends[i, 0] = e
        for z in range(n_species):
            for c in range(begin, candidate):
                j = second[c]
                if species[j] != z:
                    continue
                x = positions[j, 0] - positions[i, 0] + offsets[0, c]
                y = positions[j, 1] - positions[i, 1] + offsets[1, c]
                w = positions[j, 2] - positions[i, 2] + offsets[2, c]
                length = sqrt(x * x + y * y + w * w)
                if length < cutoff:
                    neighbours[e], lengths[e] = j, length
                    vectors[0, e], vectors[1, e], vectors[2, e] = x, y, w
                    e += 1
            ends[i, z + 1] = e
        while (e - starts[i]) % PAD != 0:
            neighbours[e], lengths[e] = -1, cutoff
            vectors[0, e], vectors[1, e], vectors[2, e] = 0.0, 0.0, cutoff
            e += 1
        starts[i + 1], ends[i, n_species] = e, e
    return Neighbourhood(starts, ends, neighbours, vectors, lengths)
