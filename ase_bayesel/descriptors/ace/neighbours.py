"""Neighbours of every atom, padded to a rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ...structures.neighbours import fresh_pairs, pairs_within


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of N atoms (of one or more structures), padded to K per atom.

    Attributes
    ----------
    index
        ``(N, K)`` the neighbour's row among the N atoms.
    vectors
        ``(3, N, K)`` from atom to neighbour, A. A padded entry lies exactly at
        the cutoff, where every basis function and its slope vanish.
    lengths
        ``(N, K)`` their lengths, A.
    species
        ``(N,)`` index of each atom's element in the descriptor's list.
    frame
        ``(N,)`` the structure each atom belongs to.
    """

    index: np.ndarray
    vectors: np.ndarray
    lengths: np.ndarray
    species: np.ndarray
    frame: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Number N of atoms whose neighbours these are."""
        return len(self.species)

    def take(self, atoms: np.ndarray) -> Neighbours:
        """The rows of some of the atoms; ``index`` still counts all of them."""
        if len(atoms) == self.n_atoms:  # rows come in order
            return self
        return Neighbours(
            self.index[atoms],
            self.vectors[:, atoms],
            self.lengths[atoms],
            self.species[atoms],
            self.frame[atoms],
        )


def find_neighbours(
    frames: Sequence[Atoms], species: Sequence[np.ndarray], cutoff: float, again: bool = False
) -> Neighbours:
    """Neighbours within a cutoff of all atoms of all structures, images included.

    Parameters
    ----------
    frames, species
        The structures, and of each the indices of its atoms' elements.
    cutoff
        A.
    again
        Whether structures like these will follow, as in MD (`pairs_within`).
    """
    counts = [len(atoms) for atoms in frames]
    n_atoms = sum(counts)
    pairs = [(pairs_within if again else fresh_pairs)(atoms, cutoff) for atoms in frames]
    if len(frames) == 1:
        first, second, vectors, lengths = pairs[0]
    else:
        starts = np.cumsum([0, *counts[:-1]])
        first = np.concatenate([p.first + start for p, start in zip(pairs, starts, strict=True)])
        second = np.concatenate([p.second + start for p, start in zip(pairs, starts, strict=True)])
        vectors = np.concatenate([p.vectors for p in pairs], axis=1)
        lengths = np.concatenate([p.lengths for p in pairs])

    per_atom = np.bincount(first, minlength=n_atoms)
    width = max(int(per_atom.max(initial=0)), 1)
    before = np.cumsum(per_atom) - per_atom
    places = np.arange(len(first)) + (np.arange(n_atoms) * width - before).take(first)
    index = np.repeat(np.arange(n_atoms), width)
    index[places] = second
    padded = np.zeros((3, n_atoms * width))
    padded[2] = cutoff
    padded[:, places] = vectors
    distances = np.full(n_atoms * width, cutoff)
    distances[places] = lengths
    return Neighbours(
        index=index.reshape(n_atoms, width),
        vectors=padded.reshape(3, n_atoms, width),
        lengths=distances.reshape(n_atoms, width),
        species=species[0] if len(species) == 1 else np.concatenate(list(species)),
        frame=np.repeat(np.arange(len(frames)), counts),
    )
