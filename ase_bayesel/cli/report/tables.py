"""Rows and lines of the report's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...campaign.events import RoundReport
from ...campaign.history import Foretold, History, PickRecord
from ...plots.rounds import KINDS


@dataclass(frozen=True)
class PickRow:
    """A pick as the table shows it; all are texts but the number of its structure."""

    index: int
    identity: str
    formula: str
    n_atoms: int
    round_number: int
    walker: str
    step: int
    temperature: str
    why: str
    reason: str
    atom: str
    energy: str
    forces: str
    cost: str
    fate: str
    in_fit: bool


def pick_rows(history: History) -> list[PickRow]:
    """One row for each pick, in order."""
    return [_row(k, record) for k, record in enumerate(history.picks)]


def _row(index: int, record: PickRecord) -> PickRow:
    pick, atoms = record.pick, record.pick.structure
    atom = pick.report.atom_index
    return PickRow(
        index,
        pick.structure_id,
        atoms.get_chemical_formula(empirical=False),
        len(atoms),
        record.round_number,
        f"{pick.walker}{'' if record.biased else ' (unbiased)'}",
        pick.step,
        f"{pick.temperature_K:.0f}" if np.isfinite(pick.temperature_K) else "-",
        _why(record),
        pick.reason,
        "-" if atom is None else f"{atoms.symbols[atom]} {atom}",
        _pair(record.foretold.get("energy"), 1e3 / len(atoms)),
        _pair(record.foretold.get("forces"), 1e3),
        "-" if record.wall_s is None else f"{record.wall_s:.3g}",
        record.fate,
        record.in_fit,
    )


def _why(record: PickRecord) -> str:
    """Why a structure was picked; at a start with the numbers, which have another unit."""
    seen = record.pick.report
    if record.kind != "start":
        return KINDS[record.kind]
    numbers = f"{1e3 * seen.value:.3g} of {1e3 * seen.threshold:.2g} meV/atom allowed"
    return f"{KINDS[record.kind]}: {numbers}"


def _pair(found: Foretold | None, factor: float) -> str:
    """Calibrated deviation and true error."""
    if found is None:
        return "-"
    return f"{factor * found.deviation:.3g} / {factor * abs(found.error):.3g}"


@dataclass(frozen=True)
class WalkerKind:
    """Picks of biased or of unbiased walkers, together."""

    name: str
    picks: int
    failed: int
    energy: str
    forces: str


def side_by_side(history: History) -> list[WalkerKind]:
    """Biased and unbiased walkers; empty where all were of one kind."""
    kinds = {True: "biased", False: "unbiased"}
    if len({record.biased for record in history.picks}) < 2:
        return []
    found = []
    for biased, name in kinds.items():
        own = [record for record in history.picks if record.biased == biased]
        failed = sum(not record.in_fit for record in own)
        sizes = {"energy": _together(own, "energy"), "forces": _together(own, "forces")}
        found.append(WalkerKind(name, len(own), failed, **sizes))
    return found


def _together(records: Sequence[PickRecord], prop: str) -> str:
    """Root mean square deviation and error of several picks, meV/atom or meV/A."""
    pairs = [
        (1e3 / (len(r.pick.structure) if prop == "energy" else 1), r.foretold[prop])
        for r in records
        if prop in r.foretold
    ]
    if not pairs:
        return "-"
    squares = np.mean([((f * p.deviation) ** 2, (f * p.error) ** 2) for f, p in pairs], axis=0)
    return "{:.3g} / {:.3g}".format(*np.sqrt(squares))


def property_rows(history: History) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Heads and rows of the properties of each round; no heads where none is followed."""
    units = {q.name: q.unit for report in history.reports for q in report.properties}
    heads = [f"{name}, {unit}" for name, unit in units.items()]
    rows = []
    for report in history.reports:
        own = {q.name: f"{q.value:.5g} ± {q.std:.2g}" for q in report.properties}
        rows.append((report.round_number, [own.get(name, "-") for name in units]))
    return heads, rows


def walker_ends(report: RoundReport) -> str:
    """How many of a round's walkers ended in each way."""
    return ", ".join(f"{number} {status}" for status, number in Counter(report.walkers).items())


def label_lines(history: History) -> list[tuple[int, str, str]]:
    """Round, identity and fate of each pick whose label no fit takes."""
    return [
        (record.round_number, record.pick.structure_id, record.fate)
        for record in history.picks
        if not record.in_fit
    ]


def warning_lines(history: History) -> list[tuple[int, str]]:
    """Round and text of what looks wrong of fits, labels, walkers and thermostats."""
    lines = [
        (report.round_number, told)
        for report in history.reports
        for told in (*report.stopped, *report.warned())
    ]
    for number in range(1, len(history.reports) + 1):
        lines += [(number, told) for told in history.thermostat_warnings(number)]
    return sorted(lines, key=lambda line: line[0])


def shift_rows(history: History) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Elements, and of each round their energy shifts (eV) and where these come from."""
    shifts = [(r.round_number, shift) for r in history.reports if (shift := r.energy_shift)]
    elements = sorted({element for _, shift in shifts for element in shift.energies})
    rows = []
    for number, shift in shifts:
        energies = (shift.energies.get(element) for element in elements)
        cells = ["-" if energy is None else f"{energy:+.5f}" for energy in energies]
        rows.append((number, [*cells, shift.source]))
    return elements, rows
