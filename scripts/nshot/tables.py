"""Numbers behind the report: medians, spreads, paired bootstrap, labels to the floor, wall time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arms import ARMS, FLOOR

RESAMPLES = 4000
NEAR_FLOOR = 1.1
"""A model has come to the floor where its error is at most so many times the floor's."""
DFT_S = {"10 min": 600.0, "2 h": 7200.0}
AT_ONCE = (1, 10)

Record = Mapping[str, Any]


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def latest(records: Sequence[Record]) -> list[Record]:
    """Of runs with the same names and number of labels, but other settings, the last one."""
    names = ("system", "start", "arm", "seed", "max_labels")
    return list({tuple(r[name] for name in names): r for r in records}.values())


def at_labels(record: Record, labels: int, kind: str = "all") -> list[float] | None:
    """Errors of the last model with at most so many labels, if the run went on long enough.

    A run that has ended before (nothing triggered) keeps its last errors: no label came after.
    """
    if record["arm"] != "floor" and labels > record["max_labels"]:
        return None
    own = [r for r in record["rounds"] if r["labels"] <= labels]
    return own[-1]["errors"].get(kind) if own else None


def labels_to_floor(record: Record, floor: float, column: int, kind: str = "all") -> float:
    """Labels of the first model from which on all errors are near the floor; infinite for none."""
    best = np.inf
    for entry in reversed(record["rounds"]):
        if entry["errors"][kind][column] > NEAR_FLOOR * floor:
            break
        best = float(entry["labels"])
    return best


def median_range(values: Sequence[float], digits: int = 1) -> str:
    """Median and spread of finite values."""
    if not len(values):
        return ""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def present_arms(records: Sequence[Record]) -> list[str]:
    """Names of the arms that were run, the floor first."""
    present = {r["arm"] for r in records}
    return [name for name in (FLOOR, *ARMS) if name in present]


def pair(pairs: Sequence[Sequence[float]]) -> str:
    """Energies / forces, medians with their spreads."""
    if not pairs:
        return ""
    energies, forces = zip(*pairs, strict=True)
    return f"{median_range(energies)} / {median_range(forces, 0)}"


def ratio(found: tuple[float, float, float] | None) -> str:
    """A `paired_ratio`, with its interval where there is more than one seed."""
    if found is None:
        return ""
    middle, low, high = found
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f}-{high:.2f})"


def paired_ratio(
    ours: Mapping[int, float], theirs: Mapping[int, float]
) -> tuple[float, float, float] | None:
    """Geometric mean over common seeds of ours / theirs, with its 95% interval by bootstrap.

    Parameters
    ----------
    ours, theirs
        Errors by seed.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    logs = np.log([ours[seed] / theirs[seed] for seed in seeds])
    rng = np.random.default_rng(0)
    means = logs[rng.integers(len(logs), size=(RESAMPLES, len(logs)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


def by_seed(
    records: Sequence[Record], arm: str, labels: int, kind: str, column: int
) -> dict[int, float]:
    """Errors of an arm by seed."""
    found = {}
    for record in records:
        errors = at_labels(record, labels, kind) if record["arm"] == arm else None
        if errors is not None:
            found[int(record["seed"])] = float(errors[column])
    return found


def wall_hours(record: Record, dft_s: float, at_once: int) -> float:
    """Hours of a run where a label costs ``dft_s`` and so many are computed at once.

    A round's labels are computed when its exploration has ended; MD and fits cost what they did.
    """
    waves = sum(-(-entry["picks"] // at_once) for entry in record["rounds"])
    seconds = record["seconds"]
    own = sum(seconds.get(stage, 0.0) for stage in ("explore", "fit", "refit", "calibrate"))
    return (waves * dft_s + own) / 3600
