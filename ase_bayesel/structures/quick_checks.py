"""Which of many structures are surely sound, told in few steps; `check_structure` has the word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from .checks import LARGEST_A, LARGEST_A3, ON_TOP_A, SMALLEST_A

SLACK = 1.001
"""What is that near to a limit is not sure."""
MOST_PAIRS = 64
"""For each atom; where more have nearly the same first coordinate, a tree finds those on top."""

GAP = 4.0
"""Between structures on the line on which their atoms are sorted; each takes two turns of 1."""


class _Together(NamedTuple):
    """B structures of n atoms in all: arrays one behind the other, and whose each atom is."""

    numbers: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    starts: np.ndarray
    owners: np.ndarray


def surely_sound(frames: Sequence[Atoms]) -> np.ndarray:
    """``(B,)`` whether elements, positions, cell and distances surely pass `check_structure`.

    Structures are taken as periodic along all cell vectors: those that pass do so with fewer.
    """
    sound = np.zeros(len(frames), bool)
    chosen = [k for k, atoms in enumerate(frames) if len(atoms)]
    if not chosen:
        return sound
    some = _together([frames[k] for k in chosen])
    fine = np.minimum.reduceat(some.numbers, some.starts) >= 1
    fine &= np.maximum.reduceat(np.abs(some.positions).max(axis=1), some.starts) <= LARGEST_A
    fine &= np.abs(some.cells).max(axis=(1, 2)) <= LARGEST_A
    cells = np.where(fine[:, None, None], some.cells, np.eye(3))
    positions = np.where(fine[some.owners, None], some.positions, 0.0)
    bare = np.array([not frames[k].pbc.any() for k in chosen]) & ~cells.any(axis=(1, 2))
    if bare.any():
        spread = np.maximum.reduceat(positions, some.starts)
        spread -= np.minimum.reduceat(positions, some.starts)
        boxes = (spread + 1.0)[:, :, None] * np.eye(3)
        cells[bare] = boxes[bare]
    volume = np.abs(np.linalg.det(cells))
    fine &= (volume > 0.0) & (volume <= np.where(bare, np.inf, LARGEST_A3))
    cells[~fine] = np.eye(3)
    duals = np.linalg.inv(cells)
    lengths = np.sqrt(np.einsum("bij,bij->bj", duals, duals))  # one over the heights of a cell
    fine &= SLACK * SMALLEST_A * lengths.max(axis=1) < 1.0
    fractions = sum(positions[:, [k]] * duals[some.owners, k] for k in range(3))
    fine &= _apart(fractions - np.floor(fractions), SLACK * ON_TOP_A * lengths, some, fine)
    sound[chosen] = fine
    return sound


def _together(frames: Sequence[Atoms]) -> _Together:
    sizes = np.array([len(atoms) for atoms in frames])
    return _Together(
        np.concatenate([atoms.numbers for atoms in frames]),
        np.concatenate([atoms.positions for atoms in frames]),
        np.array([atoms.cell.array for atoms in frames]),
        np.cumsum(sizes) - sizes,
        np.repeat(np.arange(len(frames)), sizes),
    )


def _apart(
    fractions: np.ndarray, reach: np.ndarray, some: _Together, looked_at: np.ndarray
) -> np.ndarray:
    """``(B,)`` whether no two atoms differ by less than ``reach (B, 3)`` along each axis.

    Atoms are sorted along the first axis, structure by structure; there few pairs are close.
    """
    kept = np.flatnonzero(looked_at[some.owners])
    owners = some.owners[kept]
    n_atoms = np.bincount(owners, minlength=len(reach))
    line = fractions[kept, 0] + GAP * owners
    order = np.argsort(line)
    line, order = line[order], kept[order]
    # in two turns of each structure, one behind the other
    place = np.arange(len(order)) + (np.cumsum(n_atoms) - n_atoms)[owners]
    twice = np.empty(2 * len(order))
    twice[place] = line
    twice[place + n_atoms[owners]] = line + 1.0
    counts = np.searchsorted(twice, line + reach[owners, 0], side="right") - place - 1
    crowded = np.bincount(owners, counts, minlength=len(reach)) > MOST_PAIRS * n_atoms
    counts[crowded[owners]] = 0
    one = np.repeat(np.arange(len(order)), counts)
    other = one + np.arange(1, len(one) + 1) - np.repeat(np.cumsum(counts) - counts, counts)
    other -= np.where(other >= np.cumsum(n_atoms)[owners[one]], n_atoms[owners[one]], 0)
    close = np.ones(len(one), bool)
    for axis in (1, 2):
        steps = fractions[order[one], axis] - fractions[order[other], axis]
        close &= np.abs(steps - np.rint(steps)) <= reach[owners[one], axis]
    crowded[owners[one[close]]] = True
    return ~crowded
