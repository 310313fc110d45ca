"""The quick version's verdict: is the default as good as its rivals at equal labels?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .tables import markdown

LIMIT = 1.25
"""The default's median error may be at most so many times a rival's."""
UNITS = ("energy, meV/atom", "forces, meV/A")


def verdict(records: Sequence[dict[str, Any]], arms: Sequence[str]) -> tuple[str, list[str]]:
    """A table of the median last errors, and in what the first arm loses, a sentence each.

    Parameters
    ----------
    records
        Finished runs.
    arms
        The default first; arms without runs are left out.
    """
    medians, rows = {}, []
    for arm in arms:
        own = [record for record in records if record["arm"] == arm]
        if not own:
            continue
        last = np.array([record["rounds"][-1]["errors"]["all"] for record in own])
        medians[arm] = np.median(last, axis=0)
        labels = np.median([record["rounds"][-1]["labels"] for record in own])
        spread = [
            f"{m:.2f} ({a:.2f}-{b:.2f})"
            for m, a, b in zip(medians[arm], last.min(axis=0), last.max(axis=0), strict=True)
        ]
        rows.append([arm, len(own), f"{labels:.0f}", *spread])
    table = markdown(["arm", "seeds", "labels", *UNITS], rows)
    if arms[0] not in medians:
        return table, [f"no run of {arms[0]}"]
    losses = [
        f"{arms[0]}: {UNITS[k].split(',')[0]} error is {ratio:.2f} times that of {arm}"
        for arm in medians
        for k, ratio in enumerate(medians[arms[0]] / medians[arm])
        if arm != arms[0] and ratio > LIMIT
    ]
    return table, losses
