"""Structures of picks as the page's viewer reads them: few bytes, and no more than a page bears."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from ...campaign.events import RoundReport
from ...campaign.history import PickRecord
from ...surrogate.scales import Scales
from ...surrogate.uncertainty import LocalUncertainty

MOST_ATOMS = 60_000
"""The newest picks have their structures on the page, up to so many atoms: about 0.7 MB."""


def embedded(picks: Sequence[PickRecord], reports: Sequence[RoundReport]) -> dict[str, Any]:
    """Values for JSON: structures by the number of their pick, the newest ones, and elements.

    Colours are uncertainties of atomic energies where the pick was made, as large as errors
    (`LocalUncertainty`), meV.
    """
    found: dict[int, Any] = {}
    n_atoms, numbers = 0, set[int]()
    for k, record in reversed(list(enumerate(picks))):
        atoms = record.pick.structure
        n_atoms += len(atoms)
        if n_atoms > MOST_ATOMS:
            break
        numbers |= set(atoms.numbers.tolist())
        found[k] = _structure(record, Scales.from_json(reports[record.round_number - 1].scales))
    elements = {z: [chemical_symbols[z], round(float(covalent_radii[z]), 2)] for z in numbers}
    return {"elements": elements, "picks": found}


def _structure(record: PickRecord, scales: Scales) -> Mapping[str, Any]:
    atoms, deviations = record.pick.structure, record.pick.deviations
    energies, nothing = deviations.local_energy_std, np.zeros(len(atoms))
    outside = nothing if deviations.extrapolated is None else deviations.extrapolated
    local = 1e3 * LocalUncertainty.of(energies, nothing, outside, scales).energies
    low, step = _grid(atoms)
    places = np.rint((atoms.positions - low) / step)
    largest = float(local.max(initial=0.0)) or 1.0
    return {
        "title": f"{atoms.get_chemical_formula()}, round {record.round_number}, "
        f"walker {record.pick.walker}, step {record.pick.step}",
        "z": _text(atoms.numbers, "u1"),
        "xyz": _text(places.ravel(), "<u2"),
        "low": low.round(4).tolist(),
        "step": step,
        "cell": atoms.cell.array.round(4).tolist() if atoms.cell.rank == 3 else None,
        "std": _text(np.rint(255 * local / largest), "u1"),
        "largest": float(f"{largest:.4g}"),
        "atom": record.pick.report.atom_index,
    }


def _grid(atoms: Atoms) -> tuple[np.ndarray, float]:
    """Corner and spacing of a grid of 65536 points that spans the structure, A."""
    low = atoms.positions.min(axis=0)
    return low, max(float(np.ptp(atoms.positions, axis=0).max()) / 65535, 1e-6)


def _text(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()
