"""Neighbours of every atom, padded to a rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ...structures.neighbours import neighbour_pairs


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of N atoms (of one or more structures), padded to K per atom.

    Attributes
    ----------
    index
        ``(N, K)`` the neighbour's row among the N atoms.
    vectors
        ``(N, K, 3)`` from atom to neighbour, A. A padded entry lies exactly at
        the cutoff, where every basis function and its slope vanish.
    species
        ``(N,)`` index of each atom's element in the descriptor's list.
    frame
        ``(N,)`` the structure each atom belongs to.
    """

    index: np.ndarray
    vectors: np.ndarray
    species: np.ndarray
    frame: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Number N of atoms whose neighbours these are."""
        return len(self.species)

    def take(self, atoms: np.ndarray) -> Neighbours:
        """The rows of some of the atoms; ``index`` still counts all of them."""
        return Neighbours(
            self.index[atoms], self.vectors[atoms], self.species[atoms], self.frame[atoms]
        )


def find_neighbours(
    frames: Sequence[Atoms], species: Sequence[np.ndarray], cutoff: float
) -> Neighbours:
    """Neighbours within ``cutoff`` (A) of all atoms of all structures, images included."""
    counts = np.array([len(atoms) for atoms in frames], int)
    starts = np.concatenate([[0], np.cumsum(counts)])
    lists = [neighbour_pairs(atoms, cutoff) for atoms in frames]
    first = np.concatenate([i + start for (i, _, _), start in zip(lists, starts, strict=False)])
    second = np.concatenate([j + start for (_, j, _), start in zip(lists, starts, strict=False)])
    vectors = np.concatenate([d for _, _, d in lists])

    n_atoms = int(starts[-1])
    per_atom = np.bincount(first, minlength=n_atoms)
    width = max(int(per_atom.max(initial=0)), 1)
    slot = np.arange(len(first)) - np.repeat(np.cumsum(per_atom) - per_atom, per_atom)
    index = np.repeat(np.arange(n_atoms)[:, None], width, axis=1)
    padded = np.zeros((n_atoms, width, 3))
    padded[:, :, 2] = cutoff
    index[first, slot] = second
    padded[first, slot] = vectors
    return Neighbours(
        index=index,
        vectors=padded,
        species=np.concatenate(list(species)),
        frame=np.repeat(np.arange(len(frames)), counts),
    )
