"""Pairs of neighbours."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from scipy.spatial import cKDTree


def neighbour_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within ``cutoff`` (A), images included, sorted by the first atom.

    Returns indices i ``(n,)`` and j ``(n,)`` and vectors from i to j ``(n, 3)``, A.
    Directions without periodicity may have any cell, also none, and any extent.
    """
    axes = np.flatnonzero(atoms.pbc)
    vectors = atoms.cell.array[axes]
    dual = np.linalg.pinv(vectors)
    home = atoms.positions - np.floor(atoms.positions @ dual) @ vectors
    if len(axes) == 3:
        return neighbour_list("ijD", positions=home, cell=vectors, pbc=atoms.pbc, cutoff=cutoff)
    reach = np.ceil(1.0 + cutoff * np.linalg.norm(dual, axis=0)).astype(int)
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    shifts = np.stack(grid, axis=-1).reshape(-1, len(axes)) if len(axes) else np.zeros((1, 0))
    points = (home[None] + (shifts @ vectors)[:, None]).reshape(-1, 3)

    near = cKDTree(points).query_ball_point(home, cutoff, return_sorted=True)
    first = np.repeat(np.arange(len(atoms)), [len(indices) for indices in near])
    second = np.concatenate([np.asarray(indices, int) for indices in near])
    itself = len(shifts) // 2 * len(atoms) + first
    first, second = first[second != itself], second[second != itself]
    return first, second % len(atoms), points[second] - home[first]
