"""Kept picks fitted again label by label: what a rule could have known, and the true errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from nshot.arms import ARMS, TRIGGER, config_of
from nshot.judge import errors, judged_on
from nshot.keeping import kept_picks
from nshot.pools import fitted
from nshot.systems import KEYS, System

from ase_bayesel.surrogate.calibration import calibrating
from ase_bayesel.surrogate.foresight import outlooks
from ase_bayesel.surrogate.steps import finished
from ase_bayesel.surrogate.surrogate import Surrogate

BATCHES = (5, 10)
"""Labels between two points."""
INTENDED = 20
"""So many of the test frames, without their labels, stand for the intended use."""
NAMES = ("system", "start", "arm", "seed")
Record = dict[str, Any]


def kept(
    system: str, start: str, arms: Sequence[str], seeds: Sequence[int], folder: Path
) -> dict[tuple[Any, ...], Path]:
    """The files of kept picks that are there, by `key`, seed by seed."""
    paths = {
        (system, start, arm, seed): folder / f"{system}_{start}_{arm}_{seed}.npz"
        for seed in seeds
        for arm in arms
    }
    return {name: path for name, path in paths.items() if path.exists()}


def run_records(
    system: System, paths: Mapping[tuple[Any, ...], Path], known: set[tuple[Any, ...]]
) -> Iterator[Record]:
    """The points of each kept run of a system that is not known yet.

    Parameters
    ----------
    system
        Whose runs.
    paths
        Of `kept`.
    known
        `key` of what is done.
    """
    for name, path in paths.items():
        if name not in known:
            record = dict(zip(NAMES, name, strict=True))
            yield {**record, "points": points(system, *name[1:], path)}


def key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a record is known by."""
    return tuple(record[name] for name in NAMES)


def points(system: System, start: str, arm: str, seed: int, path: Path) -> list[Record]:
    """One for the first fit and each further five labels; an outlook for each size of batch."""
    picks = kept_picks(path, system.starts()[0].pbc)
    train = system.training(seed, start)
    config = config_of(ARMS[arm], system, start, seed, len(picks), path.parent)
    intended = [atoms for rows in judged_on(system).values() for atoms in rows.frames]
    intended = intended[:: -(-len(intended) // INTENDED)]
    found = []
    for count in range(0, len(picks) + 1, min(BATCHES)):
        frames = [*train, *picks[:count]]
        model = finished(calibrating(fitted(system, frames, config), frames, KEYS))
        sizes = [size for size in BATCHES if count and count % size == 0]
        found.append(
            {
                "labels": count,
                "errors": errors(system, model)["all"],
                "scales": {
                    prop: rounded(getattr(model.scales, prop).value)
                    for prop in ("energy", "forces")
                },
                "outlooks": {
                    str(size): told(model, intended, picks[count - size : count]) for size in sizes
                },
                "fired": {str(size): fired(path, count, size) for size in sizes},
            }
        )
    return found


def told(
    model: Surrogate, intended: Sequence[Atoms], batch: Sequence[Atoms]
) -> dict[str, dict[str, float]]:
    """By property; ``repeated`` is the deviation as if the batch were observed once more."""
    again = outlooks(model.condition(batch), intended, batch)
    return {
        prop: {
            **{name: rounded(value) for name, value in asdict(own).items()},
            "repeated": rounded(again[prop].now),
        }
        for prop, own in outlooks(model, intended, batch, keys=KEYS).items()
    }


def fired(path: Path, count: int, size: int) -> float | None:
    """Share of the looks that led to the last ``size`` picks at which the trigger had fired.

    None where more labels are kept than picks of walkers: then a batch was chosen otherwise.
    """
    with np.load(path) as data:
        trace = data["trace"]
    ends = np.flatnonzero(trace[:, 4] > 0)
    if count > len(ends):
        return None
    begin = ends[count - size - 1] + 1 if count > size else 0
    return rounded(float(np.mean(trace[begin : ends[count - 1] + 1, 3] > TRIGGER["threshold"])))


def rounded(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")
