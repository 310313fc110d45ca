"""Rules that stop a run, and what each costs beside the run's best stopping point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ase_bayesel.campaign.events import RoundReport
from ase_bayesel.campaign.stopping import advice
from ase_bayesel.surrogate.outlook import Outlook
from ase_bayesel.surrogate.scales import Scale, Scales

NEAR_BEST = 1.1
"""The best stopping point is the first one whose error is at most so many times the lowest."""
FORCES = 1
Record = Mapping[str, Any]
Rule = Callable[[Sequence[Record], str], bool]
"""Whether to stop after these points of a run, the last one being that of now, for a batch size."""


def outlook_of(point: Record, size: str, prop: str = "forces") -> Outlook | None:
    """What the model of a point says of the next batch; None before the first batch."""
    found = point["outlooks"].get(size)
    return None if not found else Outlook(*(found[prop][k] for k in ("before", "now", "noise")))


def reports_of(points: Sequence[Record], size: str) -> list[RoundReport]:
    """Points as the rounds of a campaign without a test set."""
    reports = []
    for k, point in enumerate(points):
        scales = Scales(**{prop: Scale(value) for prop, value in point["scales"].items()})
        outlook = {p: outlook_of(point, size, p) for p in point["outlooks"].get(size, ())}
        labels, picks = point["labels"], int(size) if k else 0
        reports.append(
            RoundReport(k, labels, labels, picks, scales=scales.to_json(), outlook=outlook)
        )
    return reports


def said(points: Sequence[Record], size: str) -> str:
    """What the rule of campaigns advises."""
    return advice(reports_of(points, size), waiting=False, linear=True).what


def _labels(count: int) -> Rule:
    return lambda points, size: points[-1]["labels"] >= count


def _fired(share: float) -> Rule:
    def rule(points: Sequence[Record], size: str) -> bool:
        found = points[-1]["fired"].get(size)
        return found is not None and found < share

    return rule


def _uncertainty(share: float) -> Rule:
    """Whether the calibrated deviation has fallen by less than a share with the last batch."""

    def rule(points: Sequence[Record], size: str) -> bool:
        now, before = (calibrated(point, size) for point in (points[-1], points[-2]))
        return None not in (now, before) and now > (1 - share) * before

    return rule


def calibrated(point: Record, size: str) -> float | None:
    """Scaled deviation of forces over the intended frames, eV/A."""
    found = outlook_of(point, size)
    return None if found is None else point["scales"]["forces"] * found.now


RULES: dict[str, Rule] = {
    "the rule": lambda points, size: not said(points, size).startswith("go on"),
    "10 labels": _labels(10),
    "20 labels": _labels(20),
    "30 labels": _labels(30),
    "1% of checks fired": _fired(0.01),
    "0.2% of checks fired": _fired(0.002),
    "calibrated deviation fell by less than 10%": _uncertainty(0.1),
    "never": lambda points, size: False,
}


@dataclass(frozen=True)
class Regret:
    """Of a rule on a run.

    Attributes
    ----------
    labels
        At which it stops, less those of the best stopping point.
    error
        Force error there over the lowest of the run.
    advice
        What the rule of campaigns says there.
    place
        The number of the point.
    """

    labels: int
    error: float
    advice: str
    place: int


def of_size(record: Record, size: str) -> list[Record]:
    """The points of a run whose number of labels is a multiple of the batch size."""
    return [point for point in record["points"] if point["labels"] % int(size) == 0]


def regret(record: Record, rule: Rule, size: str) -> Regret:
    """Where a rule stops a run in batches of a size; at its end where it never does."""
    points = of_size(record, size)
    errors = np.array([point["errors"][FORCES] for point in points])
    best = int(np.argmax(errors <= NEAR_BEST * errors.min()))
    ends = (k for k in range(1, len(points)) if rule(points[: k + 1], size))
    place = next(ends, len(points) - 1)
    labels = points[place]["labels"] - points[best]["labels"]
    advised = said(points[: place + 1], size)
    return Regret(labels, float(errors[place] / errors.min()), advised, place)
