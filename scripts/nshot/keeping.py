"""Picks, labels and traces of a run in one small file, for later studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_bayesel.campaign.exploration.trace import PICKED, STEP, VALUE, WALKER
from ase_bayesel.campaign.store import Store

from .systems import KEYS


def keep_picks(
    path: Path, store: Store, picks: Sequence[Atoms], batches: Sequence[Sequence[Atoms]]
) -> None:
    """Write labelled picks and the traces of the triggers as compressed npz.

    ``sizes`` (n,) atoms of each pick; ``numbers``, ``positions`` (A), ``forces`` (eV/A) of all
    atoms; ``cells``, ``energies`` (eV); ``steps``, ``walkers``, ``rounds`` of all picks, failed
    ones too; ``trace``: round, walker, step, value, picked of each look of a trigger.
    """
    facts = [(k, atoms.info) for k, batch in enumerate(batches, start=1) for atoms in batch]
    traces = []
    for k in range(1, len(batches) + 1):
        own = store.exploration(k).read_trace()[:, [WALKER, STEP, VALUE, PICKED]]
        traces.append(np.column_stack([np.full(len(own), k), own]))
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "sizes": np.array([len(atoms) for atoms in picks], np.int16),
        "cells": np.array([atoms.cell.array for atoms in picks], np.float32),
        "energies": np.array([atoms.info[KEYS.energy] for atoms in picks]),
        "steps": np.array([info["bayesel_step"] for _, info in facts], np.int32),
        "walkers": np.array([info["bayesel_walker"] for _, info in facts], np.int16),
        "rounds": np.array([k for k, _ in facts], np.int16),
        "trace": np.concatenate(traces).astype(np.float32) if traces else np.zeros((0, 5)),
    }
    if picks:
        arrays["numbers"] = np.concatenate([atoms.numbers for atoms in picks]).astype(np.int8)
        arrays["positions"] = np.concatenate([a.positions for a in picks]).astype(np.float32)
        arrays["forces"] = np.concatenate([a.arrays[KEYS.forces] for a in picks]).astype(np.float32)
    np.savez_compressed(path, **arrays)


def kept_picks(path: Path, pbc: np.ndarray) -> list[Atoms]:
    """The labelled picks of a file, in their order; ``pbc`` is not in it."""
    with np.load(path) as data:
        if not len(data["sizes"]):
            return []
        ends = np.cumsum(data["sizes"])[:-1]
        columns = (np.split(data[name], ends) for name in ("numbers", "positions", "forces"))
        frames = []
        for numbers, positions, forces, cell, energy in zip(
            *columns, data["cells"], data["energies"], strict=True
        ):
            atoms = Atoms(numbers, positions.astype(float), cell=cell.astype(float), pbc=pbc)
            atoms.info[KEYS.energy] = float(energy)
            atoms.arrays[KEYS.forces] = forces.astype(float)
            frames.append(atoms)
    return frames
